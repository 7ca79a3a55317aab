// What is counted in pieces and not in time: retained messages replayed, an offline queue drained,
// connections made, connections held.
import { setTimeout as sleep } from 'node:timers/promises';
import { Peer } from './peer.mjs';
import { cpuMicros, rssBytes } from './process-stats.mjs';
import { Publisher, Receiver, Verification, now } from './flow.mjs';
import { PUBLISH, publishTemplate, resumePacket } from './packets.mjs';

const DEADLINE_MS = 60_000;
const POLL_MS = 5;
const WINDOW = 200;
const SETTLE_MS = 1000;
const ADDRESSES = 16;

async function until(condition, what) {
  const deadline = now() + DEADLINE_MS;
  while (!condition()) {
    if (now() > deadline) throw new Error(`${what} took longer than ${DEADLINE_MS} ms`);
    await sleep(POLL_MS);
  }
}

/** Publishes `count` messages at QoS 1 that nobody receives now; resolves when acknowledged. */
async function store(target, { topics, count, size, retain }, verification) {
  const peer = new Peer({ ...target, clientId: 'store' });
  await peer.connect();
  const publisher = new Publisher(peer, {
    index: 0, qos: 1, credit: count, window: WINDOW, copies: 1, verification,
    templates: topics.map((topicName) =>
      publishTemplate({ topicName, size, qos: 1, version: target.version, retain })),
  });
  publisher.limit = count;
  publisher.topUp();
  await until(() => publisher.acknowledged === count || verification.faults > 0, 'storing');
  await peer.disconnect();
  return publisher;
}

function measured(pid, before, count) {
  return {
    messages: count, usPerMessage: (cpuMicros(pid) - before.cpu) / count,
    messagesPerSecond: count / (now() - before.at) * 1000,
  };
}

/** One client after the other asks for everything: the clock of the kernel is a coarse one. */
export async function runRetained(target, { count, size, replays }) {
  const verification = new Verification();
  const pid = target.brokerPid;
  const topics = Array.from({ length: count }, (_, i) => `bench/device-${i}/state`);
  const rssBefore = rssBytes(pid);
  const publisher = await store(target, { topics, count, size, retain: 'retain' }, verification);
  const bytesPerMessage = (rssBytes(pid) - rssBefore) / count;
  const before = { cpu: cpuMicros(pid), at: now() };
  for (let i = 0; i < replays; i++) {
    await replay({ ...target, clientId: `replay${i}` }, publisher, count, verification);
  }
  const result = measured(pid, before, count * replays);
  return { ...result, bytesPerMessage, ...told(verification) };
}

async function replay(target, publisher, count, verification) {
  const peer = new Peer(target);
  await peer.connect();
  const { version } = target;
  const seen = new Uint8Array(count);
  const goal = verification.received + count;
  const answer = peer.subscribe(['bench/#'], 0);
  const waiting = peer.onPacket;
  // Retained messages may come before the SUBACK.
  peer.onPacket = (type, flags, bytes, at, end) => {
    if (type !== PUBLISH) waiting(type, flags, bytes, at, end);
    else checkRetained({ flags, bytes, at, version }, publisher, seen, verification);
  };
  await answer;
  await until(() => verification.received >= goal || verification.faults > 0, 'the replay');
  peer.destroy();
}

function checkRetained({ flags, bytes, at, version }, publisher, seen, verification) {
  const length = (bytes[at] << 8) | bytes[at + 1];
  const qos = (flags >> 1) & 3;
  let payloadAt = at + 2 + length + (qos > 0 ? 2 : 0);
  if (version === 5) payloadAt += 1 + bytes[payloadAt];
  const sequence = bytes.readUInt32BE(payloadAt + 4);
  const { topic } = publisher.templates[sequence] ?? {};
  const right = topic !== undefined && qos === 0 && (flags & 1) === 1 && seen[sequence] === 0
    && bytes.compare(topic, 0, topic.length, at + 2, at + 2 + length) === 0;
  if (!right) verification.fault(`retained message ${sequence}: flags ${flags}, or topic`);
  else seen[sequence] = 1;
  verification.received++;
}

export async function runOffline(target, { count, size }) {
  const verification = new Verification();
  const pid = target.brokerPid;
  const identity = { ...target, clientId: 'sleeper', session: 'kept' };
  const sleeper = new Peer(identity);
  await sleeper.connect();
  await sleeper.subscribe(['bench/offline'], 1);
  await sleeper.disconnect();
  const rssBefore = rssBytes(pid);
  const publisher = await store(
    target, { topics: ['bench/offline'], count, size, retain: 'no' }, verification,
  );
  const bytesPerMessage = (rssBytes(pid) - rssBefore) / count;
  const before = { cpu: cpuMicros(pid), at: now() };
  const peer = new Peer(identity);
  const back = peer.connect(resumePacket(identity));
  await peer.opened;
  const waiting = peer.onPacket;
  const { version } = target;
  const receiver = new Receiver(
    peer, { publishers: [publisher], order: 'next', version, verification },
  );
  const receive = peer.onPacket;
  publisher.topUp = () => {};
  peer.onPacket = (type, flags, bytes, at, end) =>
    (type === PUBLISH ? receive : waiting)(type, flags, bytes, at, end);
  const { sessionPresent } = await back;
  receiver.peer.onPacket = receive;
  if (!sessionPresent) verification.fault('the session was not kept');
  await until(() => verification.received >= count || verification.faults > 0, 'the drain');
  const result = measured(pid, before, count);
  peer.destroy();
  return { ...result, bytesPerMessage, ...told(verification) };
}

export async function runConnects(target, { count, slots }) {
  const pid = target.brokerPid;
  let next = 0;
  const one = async () => {
    while (next < count) {
      const peer = new Peer({ ...target, clientId: `connect-${next++}` });
      await peer.connect();
      await peer.disconnect();
    }
  };
  const before = { cpu: cpuMicros(pid), at: now() };
  await Promise.all(Array.from({ length: slots }, one));
  const { usPerMessage, messagesPerSecond } = measured(pid, before, count);
  return { usPerConnect: usPerMessage, connectsPerSecond: messagesPerSecond, ...told() };
}

export async function runIdle(target, { count, slots }) {
  const rssBefore = rssBytes(target.brokerPid);
  const peers = [];
  const some = async (first) => {
    for (let i = first; i < count; i += slots) {
      const localAddress = `127.0.0.${1 + (i % ADDRESSES)}`;
      const peer = new Peer({ ...target, clientId: `idle-${i}`, localAddress });
      peers.push(peer);
      await peer.connect();
    }
  };
  await Promise.all(Array.from({ length: slots }, (_, first) => some(first)));
  await sleep(SETTLE_MS);
  const bytesPerConnection = (rssBytes(target.brokerPid) - rssBefore) / count;
  for (const peer of peers) peer.destroy();
  return { bytesPerConnection, ...told() };
}

function told(verification = { faults: 0, firstFault: '' }) {
  return { faults: verification.faults, firstFault: verification.firstFault };
}
