"""Application layer: DNS, HTTP, Modbus, MQTT, SOCKS; `payloads` is the way in."""
