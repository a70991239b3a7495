"""Bytes only: JSON-RPC 2.0 notifications, written and read; nothing of Kafka, no threads."""
