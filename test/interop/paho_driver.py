"""Drives paho-mqtt for the interoperability tests: JSON in, JSON out."""
import json
import sys
import threading

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

VERSIONS = {3: mqtt.MQTTv31, 4: mqtt.MQTTv311, 5: mqtt.MQTTv5}
clients = {}
lock = threading.Lock()


def tell(**event):
    with lock:
        sys.stdout.write(json.dumps(event) + "\n")
        sys.stdout.flush()


def properties_for(packet_type, fields):
    if not fields:
        return None
    result = Properties(packet_type)
    for name, value in fields.items():
        if name == "CorrelationData":
            value = bytes.fromhex(value)
        if name == "UserProperty":
            value = [tuple(pair) for pair in value]
        setattr(result, name, value)
    return result


def plain(properties):
    if properties is None:
        return {}
    names = ("PayloadFormatIndicator", "ContentType", "ResponseTopic", "CorrelationData",
             "UserProperty", "SubscriptionIdentifier", "MessageExpiryInterval")
    result = {}
    for name in names:
        if hasattr(properties, name):
            value = getattr(properties, name)
            result[name] = value.hex() if name == "CorrelationData" else value
    return result


def connect(command):
    key, version = command["key"], command["version"]
    options = {"client_id": command["clientId"], "protocol": VERSIONS[version]}
    if version < 5:
        options["clean_session"] = command["clean"]
    client = mqtt.Client(**options)
    will = command.get("will")
    if will:
        client.will_set(will["topic"], will["payload"], will["qos"], will["retain"])

    def on_connect(_client, _userdata, flags, code, _properties=None):
        tell(event="connected", key=key, present=flags["session present"],
             code=code if isinstance(code, int) else code.value)

    def on_message(_client, _userdata, message):
        tell(event="message", key=key, topic=message.topic, payload=message.payload.hex(),
             qos=message.qos, retain=bool(message.retain),
             properties=plain(getattr(message, "properties", None)))

    client.on_connect = on_connect
    client.on_message = on_message
    client.on_subscribe = lambda _c, _u, mid, granted, _p=None: tell(
        event="done", key=key, what="subscribe", mid=mid,
        granted=[one if isinstance(one, int) else one.value for one in granted])
    client.on_unsubscribe = lambda *_rest: tell(event="done", key=key, what="unsubscribe")
    client.on_publish = lambda _c, _u, mid: tell(event="done", key=key, what="publish", mid=mid)
    client.on_disconnect = lambda *_rest: tell(event="closed", key=key)
    more = {}
    if version == 5:
        more["clean_start"] = command["clean"]
        if command.get("expiry"):
            more["properties"] = properties_for(
                PacketTypes.CONNECT, {"SessionExpiryInterval": command["expiry"]})
    clients[key] = client
    client.connect(command["host"], command["port"], 30, **more)
    client.loop_start()


def run(command):
    what = command["command"]
    if what == "connect":
        return connect(command)
    client = clients[command["key"]]
    if what == "subscribe":
        fields = command.get("properties")
        if command["version"] == 5:
            client.subscribe(command["filter"], options=SubscribeOptions(qos=command["qos"]),
                             properties=properties_for(PacketTypes.SUBSCRIBE, fields))
        else:
            client.subscribe(command["filter"], command["qos"])
    elif what == "unsubscribe":
        client.unsubscribe(command["filter"])
    elif what == "publish":
        client.publish(command["topic"], bytes.fromhex(command["payload"]), command["qos"],
                       command["retain"],
                       properties=properties_for(PacketTypes.PUBLISH, command.get("properties")))
    elif what == "end":
        client.disconnect()
        client.loop_stop()
    elif what == "cut":
        client.on_disconnect = None
        sock = client.socket()
        client._thread_terminate = True
        sock.shutdown(2)
        client.loop_stop()
        tell(event="closed", key=command["key"])


tell(event="ready", version=mqtt.paho.__version__ if hasattr(mqtt, "paho") else "")
for line in sys.stdin:
    try:
        run(json.loads(line))
    except Exception as error:  # the test must see it
        tell(event="error", message=repr(error), line=line)
