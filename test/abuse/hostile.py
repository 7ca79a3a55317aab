"""An independent corpus of hostile packets: a codec of its own, written from the standard and not from ours.

    python3 hostile.py TCP_PORT WS_PORT CONNECTIONS SEED

First a table of single faults with the Reason Codes that MQTT 5 asks for, then CONNECTIONS clients that send mutated
packets over TCP and WebSocket, whole, cut, half-open or reset. The last line is JSON; `wrong` lists unexpected answers.
"""
import json
import random
import socket
import struct
import sys

TCP, WS, CONNECTIONS, SEED = (int(word) for word in sys.argv[1:5])
RANDOM = random.Random(SEED)
TIMEOUT = 60
HALF_OPEN_MAX = 200
CONNACK, PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP = 0x20, 0x30, 0x40, 0x50, 0x62, 0x70
SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK = 0x82, 0x90, 0xA2, 0xB0
PINGREQ, PINGRESP, DISCONNECT, AUTH = b'\xc0\0', 0xD0, 0xE0, 0xF0
MALFORMED, PROTOCOL, TOPIC, FILTER, ALIAS, LARGE = 0x81, 0x82, 0x90, 0x8F, 0x94, 0x95
EITHER = {MALFORMED, PROTOCOL}
CLOSED = 'closed'


def vbi(number):
    out = b''
    while True:
        number, digit = number >> 7, number & 127
        out += bytes([digit | (128 if number else 0)])
        if not number:
            return out


def text(value):
    value = value.encode() if isinstance(value, str) else value
    return struct.pack('>H', len(value)) + value


def packet(header, body=b''):
    return bytes([header]) + vbi(len(body)) + body


def properties(version, given):
    return vbi(len(given)) + given if version == 5 else b''


def connect(version=5, client='x', flags=2, given=b'', name=None, level=None, rest=b''):
    head = text(name or ('MQIsdp' if version == 3 else 'MQTT')) + bytes([version if level is None else level, flags])
    return packet(0x10, head + b'\0\x3c' + properties(version, given) + text(client) + rest)


def publish(topic='a/b', payload=b'x', qos=0, identifier=1, flags=0, version=5, given=b''):
    identifier = struct.pack('>H', identifier) if qos else b''
    return packet(PUBLISH | qos << 1 | flags, text(topic) + identifier + properties(version, given) + payload)


def subscribe(filters, identifier=1, version=5, header=SUBSCRIBE, given=b''):
    entries = b''.join(text(name) + bytes([options]) for name, options in filters)
    return packet(header, struct.pack('>H', identifier) + properties(version, given) + entries)


def unsubscribe(filters, identifier=1, version=5, header=UNSUBSCRIBE):
    return packet(header, struct.pack('>H', identifier) + properties(version, b'') + b''.join(map(text, filters)))


def ack(header, identifier=1, rest=b''):
    return packet(header, struct.pack('>H', identifier) + rest)


def dial(port=TCP):
    sock = socket.create_connection(('127.0.0.1', port), TIMEOUT)
    sock.settimeout(TIMEOUT)
    return sock


def replies(sock):
    """Packets until the broker closes."""
    data = b''
    while True:
        length, shift, at = 0, 0, 1
        while at < len(data):
            length |= (data[at] & 127) << shift
            shift += 7
            at += 1
            if not data[at - 1] & 128:
                break
        if at > 1 and not data[at - 1] & 128 and len(data) >= at + length:
            yield data[0], data[at:at + length]
            data = data[at + length:]
            continue
        try:
            more = sock.recv(65536)
        except ConnectionResetError:
            return
        if not more:
            return
        data += more


def answer_to(data, version, first):
    """The last packet before the broker closes, or None when it sent nothing more; `alive` when it went on."""
    sock = dial()
    try:
        stream = replies(sock)
        if first == 'connected':
            sock.sendall(connect(version, 'hostile%d' % RANDOM.randrange(1 << 40)))
            header, body = next(stream)
            if header != CONNACK or body[1] != 0:
                return 'a good CONNECT was refused'
        try:
            sock.sendall(data + PINGREQ)
        except (BrokenPipeError, ConnectionResetError):
            pass
        last = None
        for header, body in stream:
            if header == PINGRESP:
                return last, 'alive'
            last = header, body
        return last, CLOSED
    except socket.timeout:
        return 'neither answered nor closed'
    finally:
        sock.close()


def code_of(last):
    header, body = last
    if header == DISCONNECT:
        return body[0] if body else 0
    return body[1] if header == CONNACK else None


def judge(name, data, expected, version=5, first='connected'):
    """`expected`: Reason Codes, CLOSED for any end, or (header, last byte) of an answer after which it goes on."""
    answer = answer_to(data, version, first)
    right = False
    if not isinstance(answer, str):
        last, end = answer
        if isinstance(expected, tuple):
            right = end == 'alive' and last is not None and (last[0], last[1][-1]) == expected
        elif end == CLOSED:
            right = expected == CLOSED or (last is not None and code_of(last) in expected)
    return [] if right else ['%s: %s' % (name, answer)]


def faults():
    twice = lambda given: publish(given=given * 2)
    yield from [
        ('QoS 3', b'\x36' + publish(qos=2)[1:], {MALFORMED}), ('DUP at QoS 0', publish(flags=8), EITHER),
        ('topic +', publish('a/+'), EITHER | {TOPIC}), ('topic #', publish('#'), EITHER | {TOPIC}),
        ('alias 0', publish(given=b'\x23\0\0'), {ALIAS}), ('alias too big', publish(given=b'\x23\xff\xff'), {ALIAS}),
        ('no topic', publish(''), {PROTOCOL, ALIAS, TOPIC}), ('unknown alias', publish('', given=b'\x23\0\5'), {PROTOCOL, ALIAS}),
        ('Subscription Identifier', publish(given=b'\x0b\1'), {PROTOCOL}),
        ('identifier 0', publish(qos=1, identifier=0), EITHER), ('identifier 0, QoS 2', publish(qos=2, identifier=0), EITHER),
        ('U+0000', publish('a\0b'), {MALFORMED, TOPIC}), ('bad UTF-8', publish(b'\xc3\x28'), {MALFORMED, TOPIC}),
        ('surrogate', publish(b'\xed\xa0\x80'), {MALFORMED, TOPIC}), ('overlong', publish(b'\xc0\x80'), {MALFORMED, TOPIC}),
        ('Payload Format twice', twice(b'\1\0'), {PROTOCOL}), ('Expiry twice', twice(b'\2\0\0\0\1'), {PROTOCOL}),
        ('Content Type twice', twice(b'\3\0\1a'), {PROTOCOL}), ('Response Topic twice', twice(b'\x08\0\1a'), {PROTOCOL}),
        ('Correlation Data twice', twice(b'\x09\0\1a'), {PROTOCOL}), ('alias twice', twice(b'\x23\0\1'), {PROTOCOL}),
        ('unknown property', publish(given=b'\x7f\0'), EITHER), ('foreign property', publish(given=b'\x21\0\1'), EITHER),
        ('Payload Format 2', publish(given=b'\1\2'), EITHER), ('Response Topic #', publish(given=b'\x08\0\2a#'), EITHER | {TOPIC}),
        ('properties beyond', packet(PUBLISH, text('a') + b'\x20x'), {MALFORMED}),
        ('Property Length of 5 bytes', packet(PUBLISH, text('a') + b'\x80\x80\x80\x80\1x'), {MALFORMED}),
        ('property cut', packet(PUBLISH, text('a') + b'\x03\2\0\0'), {MALFORMED}),
        ('User Property cut', packet(PUBLISH, text('a') + b'\x05\x26\0\1a\0'), {MALFORMED}),
        ('User Property bad UTF-8', publish(given=b'\x26' + text(b'\xff') + text('v')), {MALFORMED}),
        ('topic beyond', packet(PUBLISH, b'\xff\xffab'), {MALFORMED}), ('empty PUBLISH', b'\x30\0', {MALFORMED}),
        ('no identifier', packet(0x32, text('a') + b'\0'), {MALFORMED}),
        ('second CONNECT', connect(), {PROTOCOL}), ('type 0', b'\0\0', {MALFORMED}),
        ('CONNACK', b'\x20\3\0\0\0', EITHER), ('SUBACK', b'\x90\4\0\1\0\0', EITHER), ('PINGRESP', b'\xd0\0', EITHER),
        ('PINGREQ flags', b'\xc1\0', {MALFORMED}), ('PINGREQ body', b'\xc0\1\0', {MALFORMED}),
        ('length of 5 bytes', b'\x30\x80\x80\x80\x80\1', {MALFORMED}), ('length not minimal', b'\xc0\x80\0', EITHER),
        ('256 MB', b'\x30\xff\xff\xff\x7f\0\1a', {LARGE}), ('256 MB of SUBSCRIBE', b'\x82\xff\xff\xff\x7f', {LARGE}),
        ('SUBSCRIBE flags', subscribe([('a', 0)], header=0x80), {MALFORMED}), ('no filter', subscribe([]), EITHER),
        ('SUBSCRIBE identifier 0', subscribe([('a', 0)], 0), EITHER), ('options QoS 3', subscribe([('a', 3)]), EITHER),
        ('options reserved', subscribe([('a', 0x40)]), EITHER), ('Retain Handling 3', subscribe([('a', 0x30)]), EITHER),
        ('Subscription Identifier 0', subscribe([('a', 0)], given=b'\x0b\0'), EITHER),
        ('Subscription Identifier twice', subscribe([('a', 0)], given=b'\x0b\1\x0b\2'), {PROTOCOL}),
        ('shared No Local', subscribe([('$share/g/a', 4)]), {PROTOCOL}),
        ('filter bad UTF-8', subscribe([(b'\xff', 0)]), {MALFORMED, FILTER}), ('filter a#', subscribe([('a#', 0)]), {MALFORMED, FILTER}),
        ('filter #/a', subscribe([('#/a', 0)]), {MALFORMED, FILTER}), ('filter empty', subscribe([('', 0)]), EITHER | {FILTER}),
        ('no options', packet(SUBSCRIBE, b'\0\1\0' + text('a')), {MALFORMED}),
        ('UNSUBSCRIBE flags', unsubscribe(['a'], header=0xA0), {MALFORMED}), ('no filter to end', unsubscribe([]), EITHER),
        ('PUBACK flags', ack(0x41), {MALFORMED}), ('PUBREL flags', ack(0x60), {MALFORMED}), ('PUBACK cut', b'\x40\1\0', {MALFORMED}),
        ('PUBACK identifier 0', ack(PUBACK, 0), EITHER), ('PUBACK code 1', ack(PUBACK, 1, b'\1'), EITHER),
        ('Reason String twice', ack(PUBACK, 1, b'\0\x08' + (b'\x1f' + text('a')) * 2), {PROTOCOL}),
        ('DISCONNECT flags', b'\xe1\0', {MALFORMED}), ('DISCONNECT code', b'\xe0\1\x55', EITHER),
        ('expiry raised', packet(DISCONNECT, b'\0\5\x11\0\0\0\5'), {PROTOCOL}),
        ('AUTH without method', b'\xf0\0', EITHER), ('AUTH flags', b'\xf1\0', {MALFORMED}),
        ('AUTH of nobody', packet(AUTH, b'\x18\4\x15' + text('X')), EITHER | {0x8C}),
        ('PUBREL of nothing', ack(PUBREL, 77, b''), (PUBCOMP, 0x92)), ('UNSUBSCRIBE of nothing', unsubscribe(['never']), (UNSUBACK, 0x11)),
    ]


def first_faults():
    will = lambda given=b'', topic='w': properties(5, given) + text(topic) + text('x')
    yield from [
        ('level 6', connect(level=6), {0x84}), ('level 255', connect(level=255), {0x84}), ('level 0', connect(level=0), {0x84, 1}),
        ('another name', connect(name='MQXX'), CLOSED), ('reserved flag', connect(flags=3), {MALFORMED}),
        ('will QoS 3', connect(flags=0x1E, rest=will()), {MALFORMED}), ('will flags without will', connect(flags=0x22), {MALFORMED}),
        ('Receive Maximum 0', connect(given=b'\x21\0\0'), {PROTOCOL}), ('Maximum Packet Size 0', connect(given=b'\x27\0\0\0\0'), {PROTOCOL}),
        ('expiry twice', connect(given=b'\x11\0\0\0\1' * 2), {PROTOCOL}), ('data without method', connect(given=b'\x16\0\1x'), {PROTOCOL}),
        ('unknown method', connect(given=b'\x15' + text('NOPE')), {0x8C}), ('Request Response Information 2', connect(given=b'\x19\2'), {PROTOCOL}),
        ('bytes left over', connect(rest=b'zz'), {MALFORMED}), ('name that is missing', connect(flags=0x82), {MALFORMED}),
        ('client bad UTF-8', connect(client=b'\xff'), {MALFORMED, 0x85}), ('will topic #', connect(flags=6, rest=will(topic='w/#')), EITHER | {TOPIC}),
        ('will delay twice', connect(flags=6, rest=will(b'\x18\0\0\0\1' * 2)), {PROTOCOL}),
        ('foreign will property', connect(flags=6, rest=will(b'\x21\0\1')), EITHER), ('PUBLISH', publish(), CLOSED), ('PINGREQ', PINGREQ, CLOSED),
        ('PUBREL', ack(PUBREL), CLOSED), ('HTTP', b'GET / HTTP/1.1\r\n\r\n', CLOSED), ('TLS', b'\x16\3\1\2\0\1\0\1\xfc\3\3' + b'x' * 64, CLOSED),
    ]


def old_faults(version):
    yield from [
        ('QoS 3', b'\x36' + publish(version=version, qos=2)[1:]), ('flags', subscribe([('a', 0)], version=version, header=0x80)),
        ('no filter', subscribe([], version=version)), ('options', subscribe([('a', 3)], version=version)),
        ('identifier 0', publish(version=version, qos=1, identifier=0)), ('wildcard', publish('a/#', version=version)),
        ('length', b'\x30\xff\xff\xff\xff\1'), ('AUTH', b'\xf0\0'), ('CONNACK', b'\x20\2\0\0'), ('PUBREL', ack(0x60)),
        ('U+0000', publish('a\0', version=version)), ('empty topic', publish('', version=version)), ('DISCONNECT body', b'\xe0\1\0'),
    ]


def corpus(version):
    some, user = RANDOM.randrange(1, 9), b'\x26' + text('k') + text('v')
    given = user if version == 5 else b''
    return [
        connect(version, 'c%d' % RANDOM.randrange(99)), connect(version, 'u', 0xC2, rest=text('user') + text('word')),
        connect(version, 'w', 6, rest=properties(version, given) + text('hostile/will') + text('bye')),
        publish('hostile/%d' % RANDOM.randrange(50), b'p' * RANDOM.randrange(300), version=version, given=given),
        publish('hostile/1', b'z', 1, some, version=version), publish('hostile/2', b'z' * 50, 2, some, version=version),
        publish('hostile/r', b'keep', 1, 3, 1, version), subscribe([('hostile/#', 2), ('+/+', 1)], some, version),
        subscribe([('$share/g/hostile/#', 1)], 5, version), unsubscribe(['hostile/#', 'x'], 6, version),
        ack(PUBACK, some), ack(PUBREC, some), ack(PUBREL, some), ack(PUBCOMP, some), PINGREQ, packet(DISCONNECT),
        packet(AUTH, b'\x18\4\x15' + text('X')),
    ]


def mutated(data):
    data, kind = bytearray(data), RANDOM.randrange(9)
    at = RANDOM.randrange(len(data))
    if kind == 0:
        return bytes(data[:max(1, at)])
    if kind == 1:
        data[at] ^= 1 << RANDOM.randrange(8)
    elif kind == 2:
        data[0] ^= RANDOM.randrange(16)
    elif kind == 3:
        data[1] = data[1] + RANDOM.choice([-2, -1, 1, 2, 50]) & 255
    elif kind == 4:
        data[at:at] = RANDOM.randbytes(RANDOM.randrange(1, 9))
    elif kind == 5:
        data[at:at] = data[at:at + RANDOM.randrange(1, 8)]
    elif kind == 6:
        data[at] = RANDOM.choice([0, 0xFF, 0x7F, 0x80, 0xC0, 0xED, 0x23, 0x2B])
    elif kind == 7:
        return packet(RANDOM.randrange(256), RANDOM.randbytes(RANDOM.randrange(60)))
    else:
        data += RANDOM.randbytes(RANDOM.randrange(1, 5))
    return bytes(data)


def frame(data):
    """A WebSocket frame, sometimes of another kind."""
    opcode, final = RANDOM.choice([2] * 20 + [1, 0, 9, 8]), RANDOM.choice([128] * 9 + [0])
    length = bytes([128 | len(data)]) if len(data) < 126 else b'\xfe' + struct.pack('>H', len(data))
    mask = RANDOM.randbytes(4)
    whole = bytes([final | opcode]) + length + mask + bytes(byte ^ mask[at & 3] for at, byte in enumerate(data))
    return mutated(whole) if RANDOM.random() < 0.03 else whole


def dial_websocket():
    sock = dial(WS)
    sock.sendall(b'GET /mqtt HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n'
                 b'Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n')
    head = b''
    while b'\r\n\r\n' not in head:
        more = sock.recv(4096)
        if not more:
            raise OSError('no WebSocket: %r' % head)
        head += more
    return sock


def attack(half_open):
    """One hostile client; answers how many packets it sent."""
    web, version = RANDOM.random() < 0.3, RANDOM.choice([3, 4, 5, 5])
    sock = dial_websocket() if web else dial()
    sequence = [connect(version, 'h%d' % RANDOM.randrange(200), RANDOM.choice([0, 2, 2]))] if RANDOM.random() < 0.8 else []
    for _ in range(RANDOM.randrange(1, 7)):
        one = RANDOM.choice(corpus(version))
        sequence.append(mutated(one) if RANDOM.random() < 0.6 else one)
    data, step = b''.join(sequence), RANDOM.choice([20, 200, 1 << 20])
    try:
        for at in range(0, len(data), min(step, 200) if web else step):
            piece = data[at:at + (min(step, 200) if web else step)]
            sock.sendall(frame(piece) if web else piece)
    except OSError:
        pass  # closed in our face, which is its right
    if RANDOM.random() < 0.15 and len(half_open) < HALF_OPEN_MAX:
        half_open.append(sock)
        return len(sequence)
    if RANDOM.random() < 0.5:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
    sock.close()
    return len(sequence)


def main():
    wrong, faulty = [], 0
    for name, data, expected in faults():
        wrong += judge(name, data, expected)
        faulty += 1
    for name, data, expected in first_faults():
        wrong += judge('first: ' + name, data, expected, first='stranger')
        faulty += 1
    for version in (3, 4):
        for name, data in old_faults(version):
            wrong += judge('%d: %s' % (version, name), data, CLOSED, version)
            faulty += 1
    half_open, packets = [], 0
    for _ in range(CONNECTIONS):
        packets += attack(half_open)
    for sock in half_open:
        sock.close()
    print(json.dumps({'faults': faulty, 'wrong': wrong, 'connections': CONNECTIONS, 'packets': packets}))


main()
