"""librdkafka: loaded at run time, its clients, their records and delivery reports; nothing of SIP."""
