"""What a topic holds."""

from __future__ import annotations

from kafka import KafkaConsumer, TopicPartition

from offramp.capture.message.decode import FeatureMessage, decode_message
from offramp.kafka import KafkaSettings


def messages(settings: KafkaSettings, topic: str = "features") -> list[FeatureMessage]:
    """Everything that the topic holds now, checked, by partition and offset."""
    consumer = KafkaConsumer(**settings.client_arguments())
    name = settings.topic(topic)
    places = [TopicPartition(name, number) for number in sorted(consumer.partitions_for_topic(name))]
    consumer.assign(places)
    consumer.seek_to_beginning(*places)
    ends, found = consumer.end_offsets(places), []
    while any(consumer.position(place) < ends[place] for place in places):
        for records in consumer.poll(1_000).values():
            found += [decode_message(each.key, each.headers, each.value) for each in records]
    consumer.close()
    return [message for message in found if message is not None]
