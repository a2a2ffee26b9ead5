"""Prepares a broker for a test and reads back what was published, with each broker's usual client.

python queues.py KIND URL prepare        makes a stream, a queue or a subscription for `crm`
python queues.py KIND URL read COUNT     prints one JSON line for each message, until COUNT different
                                         ones came; fails after two minutes without the next one

python queues.py KIND URL publish        publishes a message for each JSON line of standard input
python queues.py KIND URL left           prints how many messages are not acknowledged (nats, amqp)

KIND is nats, amqp, mqtt or kafka. A line has the message's `id`, its `place` (subject, routing key or
topic) and its `body`, and for kafka its `key`, `partition` and `headers`; a line to publish has the
body as a text, and perhaps no id.
"""

import asyncio
import json
import sys
import time
from urllib.parse import urlsplit

PATIENCE = 120


def show(ident, place, body):
    print(json.dumps({"id": ident, "place": place, "body": json.loads(body)}), flush=True)
    return ident


def given():
    return [json.loads(line) for line in sys.stdin]


async def nats(url, count):
    import nats as client

    connection = await client.connect(url)
    jetstream = connection.jetstream()
    if verb == "publish":
        for message in given():
            headers = {"Nats-Msg-Id": message["id"]} if message.get("id") else None
            await jetstream.publish(message["place"], message["body"].encode(), headers=headers)
    elif verb == "left":
        found = await jetstream.consumer_info("CRM", "waybill")
        print(found.num_pending + found.num_ack_pending)
    elif count is None:
        await jetstream.add_stream(name="CRM", subjects=["crm.>"])
    else:
        seen = set()
        subscription = await jetstream.subscribe("crm.>", ordered_consumer=True)
        while len(seen) < count:
            message = await subscription.next_msg(timeout=PATIENCE)
            seen.add(show(message.headers["Nats-Msg-Id"], message.subject, message.data))
    await connection.close()


def amqp(address, count):
    import pika

    credentials = pika.PlainCredentials("guest", "guest")
    parameters = pika.ConnectionParameters(address.hostname, address.port, "/", credentials)
    connection = pika.BlockingConnection(parameters)
    channel = connection.channel()
    if verb == "publish":
        channel.confirm_delivery()
        for message in given():
            properties = pika.BasicProperties(message_id=message.get("id"), delivery_mode=2)
            body = message["body"].encode()
            channel.basic_publish("events", message["place"], body, properties, mandatory=True)
    elif verb == "left":
        # Those that a consumer has are not counted, so nothing may consume.
        print(channel.queue_declare("crm", passive=True).method.message_count)
    elif count is None:
        channel.exchange_declare("events", "topic", durable=True)
        channel.queue_declare("crm", durable=True)
        channel.queue_bind("crm", "events", "crm.#")
    else:
        seen = set()
        for method, properties, body in channel.consume("crm", inactivity_timeout=PATIENCE):
            if method is None:
                sys.exit("no further message came")
            seen.add(show(properties.message_id, method.routing_key, body))
            if len(seen) >= count:
                break
        # What was not acknowledged goes back to the queue, for the next reader.
    connection.close()


def mqtt(address, count):
    from paho.mqtt import client
    from paho.mqtt.packettypes import PacketTypes
    from paho.mqtt.properties import Properties

    seen = set()
    progress = time.monotonic()
    subscribed = []

    def on_message(_client, _data, message):
        nonlocal progress
        progress = time.monotonic()
        properties = dict(getattr(message.properties, "UserProperty", []))
        seen.add(show(properties.get("webhook-id"), message.topic, message.payload))

    reader = client.Client(client.CallbackAPIVersion.VERSION2, "reader", protocol=client.MQTTv5)
    reader.username_pw_set("waybill", "s3cret")
    reader.on_message = on_message
    reader.on_subscribe = lambda *_: subscribed.append(True)
    lasting = Properties(PacketTypes.CONNECT)
    lasting.SessionExpiryInterval = 3600
    reader.connect(address.hostname, address.port, clean_start=False, properties=lasting)
    if count is None:
        reader.subscribe("crm/#", qos=1)
    while (len(seen) < count) if count is not None else not subscribed:
        reader.loop(0.1)
        if time.monotonic() - progress > PATIENCE:
            sys.exit("no further message came")
    reader.disconnect()


def kafka(address, count):
    from kafka import KafkaConsumer, KafkaProducer, TopicPartition
    from kafka.admin import KafkaAdminClient, NewTopic

    brokers = {"bootstrap_servers": f"{address.hostname}:{address.port}"}
    topic = "crm.invoice.paid"
    if verb == "prepare":
        KafkaAdminClient(**brokers).create_topics([NewTopic(topic, 3, 1)])
        return
    if verb == "publish":
        producer = KafkaProducer(acks="all", enable_idempotence=False, **brokers)
        for message in given():
            headers = [("webhook-id", message["id"].encode())] if message.get("id") else []
            key = message["key"].encode() if message.get("key") else None
            producer.send(message["place"], message["body"].encode(), key=key, headers=headers)
        producer.flush()
        return
    consumer = KafkaConsumer(**brokers)
    partitions = [TopicPartition(topic, number) for number in range(3)]
    consumer.assign(partitions)
    consumer.seek_to_beginning()
    seen = set()
    progress = time.monotonic()
    while len(seen) < count:
        for messages in consumer.poll(timeout_ms=500).values():
            for message in messages:
                progress = time.monotonic()
                headers = {name: value.decode() for name, value in message.headers}
                line = {"id": headers["webhook-id"], "place": message.topic, "headers": headers}
                line |= {"partition": message.partition, "key": message.key and message.key.decode()}
                print(json.dumps(line | {"body": json.loads(message.value)}), flush=True)
                seen.add(line["id"])
        if time.monotonic() - progress > PATIENCE:
            sys.exit("no further message came")


kind, url, verb, *rest = sys.argv[1:]
count = int(rest[0]) if verb == "read" else None
if kind == "nats":
    asyncio.run(nats(url, count))
else:
    {"amqp": amqp, "mqtt": mqtt, "kafka": kafka}[kind](urlsplit(url), count)
