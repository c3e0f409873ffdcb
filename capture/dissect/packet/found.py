"""Fields of `found`, int64 [FOUND_SIZE]: what a transport dissector passes to the application layers."""

FLOW_SLOT = 0  # of the flow table
FLOW_SIDE = 1  # the packet's direction in its conversation, 0 or 1
FLOW_IS_NEW = 2  # the conversation begins with this packet
SOURCE_PORT = 3
TARGET_PORT = 4
RAW_SEQUENCE = 5  # of TCP from here on: the sequence number as it was sent
TCP_FLAG_BITS = 6
PAYLOAD_SIZE = 7  # on the wire
ACKNOWLEDGED = 8
ADVERTISED = 9  # the window, unscaled
FOUND_SIZE = 10
