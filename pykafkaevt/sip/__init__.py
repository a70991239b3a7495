"""SIP messages and HEP packets: read in place; nothing of Kafka."""
