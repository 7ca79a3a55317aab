// MQTT packets as bytes, made before anything is measured. Of nidomq nothing is used here: who
// measures a broker must not share its codec.

export const CONNACK = 2;
export const PUBLISH = 3;
export const PUBACK = 4;
export const PUBREC = 5;
export const PUBREL = 6;
export const PUBCOMP = 7;
export const SUBACK = 9;
export const DISCONNECT_PACKET = Buffer.from([0xe0, 0]);

/** Payloads begin with the publisher, the sequence number and the time of sending. */
export const STAMP_BYTES = 16;

const KEEP_ALIVE_SECONDS = 300;
const FOREVER = [0xff, 0xff, 0xff, 0xff];

function remainingLength(length) {
  const bytes = [];
  for (let rest = length; ;) {
    const more = rest >> 7;
    bytes.push((rest & 0x7f) | (more > 0 ? 0x80 : 0));
    if (more === 0) return bytes;
    rest = more;
  }
}

function packet(firstByte, ...parts) {
  const body = Buffer.concat(parts.map((part) => Buffer.from(part)));
  return Buffer.concat([Buffer.from([firstByte, ...remainingLength(body.length)]), body]);
}

function string(text) {
  const bytes = Buffer.from(text);
  return Buffer.concat([Buffer.from([bytes.length >> 8, bytes.length & 0xff]), bytes]);
}

/** `session: 'kept'` outlives its connection; `'clean'` does not. */
export function connectPacket({ clientId, version, session = 'clean' }) {
  const cleanFlag = session === 'clean' || version === 5 ? 2 : 0;
  const head = [version, cleanFlag, KEEP_ALIVE_SECONDS >> 8, KEEP_ALIVE_SECONDS & 0xff];
  let properties = [];
  if (version === 5) properties = session === 'kept' ? [5, 0x11, ...FOREVER] : [0];
  return packet(0x10, string('MQTT'), head, properties, string(clientId));
}

/** The session that `connectPacket({ session: 'kept' })` left behind. */
export function resumePacket({ clientId, version }) {
  const head = [version, 0, KEEP_ALIVE_SECONDS >> 8, KEEP_ALIVE_SECONDS & 0xff];
  const properties = version === 5 ? [5, 0x11, ...FOREVER] : [];
  return packet(0x10, string('MQTT'), head, properties, string(clientId));
}

export function subscribePacket({ packetId, filters, qos, version }) {
  const entries = filters.map((filter) => Buffer.concat([string(filter), Buffer.from([qos])]));
  const properties = version === 5 ? [0] : [];
  return packet(0x82, [packetId >> 8, packetId & 0xff], properties, Buffer.concat(entries));
}

/**
 * A PUBLISH whose packet identifier and stamp are filled in later. `idAt` is -1 at QoS 0.
 */
export function publishTemplate({ topicName, size, qos, version, retain = 'no' }) {
  const topic = string(topicName);
  const id = qos > 0 ? [0, 0] : [];
  const properties = version === 5 ? [0] : [];
  const payload = Buffer.alloc(size);
  for (let i = STAMP_BYTES; i < size; i++) payload[i] = (i * 31 + 7) & 0xff;
  const flags = (qos << 1) | (retain === 'retain' ? 1 : 0);
  const bytes = packet(0x30 | flags, topic, id, properties, payload);
  const payloadAt = bytes.length - size;
  const idAt = qos > 0 ? payloadAt - properties.length - 2 : -1;
  return { bytes, payloadAt, idAt, topic: topic.subarray(2), payload };
}

/** The answer to a packet identifier: PUBACK, PUBREC, PUBREL or PUBCOMP in its shortest form. */
export function writeAnswer(buffer, at, type, packetId) {
  buffer[at] = (type << 4) | (type === PUBREL ? 2 : 0);
  buffer[at + 1] = 2;
  buffer[at + 2] = packetId >> 8;
  buffer[at + 3] = packetId & 0xff;
  return at + 4;
}
