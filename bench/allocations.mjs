// What JavaScript the broker allocates per message. A million messages through a warm broker, every
// QoS and version, each to a subscriber of its own and to one member of a shared subscription, and
// the drain of an offline queue, under V8's sampling heap profiler. The load is made in this
// process, the broker runs in another.
//   node bench/allocations.mjs [--messages 1000000] [--only 4-q0,5-drain] [--json FILE]
// Node's streams allocate for every read and every write, and the broker a view for every write,
// however many messages are in it; nothing may allocate for a message. The smallest object is 24
// bytes: so many per message fail, and a sixth of it in functions of the broker does; so does a
// control (a subscriber in the broker's process) that does not see its objects.
import { fork } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { Publisher, Receiver, Verification } from './load/flow.mjs';
import { publishTemplate, resumePacket, PUBLISH } from './load/packets.mjs';
import { Peer } from './load/peer.mjs';
import { answerHelp } from './load/words.mjs';

answerHelp(import.meta.url);

const { values } = parseArgs({
  options: {
    messages: { type: 'string', default: '1000000' },
    only: { type: 'string' },
    json: { type: 'string' },
  },
});
const MESSAGES = Number(values.messages);
const OBJECT_BYTES = 24;
const OURS_BYTES_MAX = OBJECT_BYTES / 6;
const PAIRS = 10;
const MEMBERS = 2;
const SIZE = 64;
const CREDIT = 1000;
/** A QoS 1 or 2 publisher: what the broker's Receive Maximum and its default in flight allow. */
const WINDOW = 500;
const WARM_UP_SHARE = 0.2;
const DRAINED_MAX = 100_000;
const DEADLINE_MS = 300_000;
const POLL_MS = 5;

async function until(condition, what) {
  const deadline = performance.now() + DEADLINE_MS;
  while (!condition()) {
    if (performance.now() > deadline) throw new Error(`${what} took longer than ${DEADLINE_MS} ms`);
    await sleep(POLL_MS);
  }
}

async function startBroker() {
  const child = fork(join(import.meta.dirname, 'load/sampled-broker.mjs'), { stdio: 'inherit' });
  const answer = () => new Promise((resolve, reject) => {
    child.once('message', resolve);
    child.once('exit', () => reject(new Error('the broker has ended')));
  });
  const { port } = await answer();
  const ask = async (command) => {
    const answered = answer();
    child.send(command);
    return answered;
  };
  return { port, ask, stop: () => child.disconnect() };
}

async function open(target, clientId, filters, qos) {
  const peer = new Peer({ ...target, clientId });
  await peer.connect();
  if (filters !== undefined) await peer.subscribe(filters, qos);
  return peer;
}

/** Pairs, and a group that gets one more copy of everything. */
async function openFlow(target, { version, qos }, verification) {
  const own = [];
  for (let i = 0; i < PAIRS; i++) own.push(await open(target, `sub${i}`, [`bench/${i}`], qos));
  const members = [];
  for (let i = 0; i < MEMBERS; i++) {
    members.push(await open(target, `member${i}`, ['$share/group/bench/+'], qos));
  }
  const publishers = [];
  for (let index = 0; index < PAIRS; index++) {
    publishers.push(new Publisher(await open(target, `pub${index}`), {
      index, qos, credit: CREDIT, window: WINDOW, verification, copies: 2,
      templates: [publishTemplate({ topicName: `bench/${index}`, size: SIZE, qos, version })],
    }));
  }
  for (const peer of own) new Receiver(peer, { publishers, order: 'next', version, verification });
  for (const peer of members) {
    new Receiver(peer, { publishers, order: 'later', version, verification });
  }
  return { publishers, peers: [...own, ...members, ...publishers.map(({ peer }) => peer)] };
}

async function measureFlow(broker, target, scenario) {
  const verification = new Verification();
  const { publishers, peers } = await openFlow(target, scenario, verification);
  for (const publisher of publishers) publisher.topUp();
  await until(() => verification.received >= MESSAGES * WARM_UP_SHARE, 'warming up');
  await broker.ask('sample');
  const before = verification.received;
  await until(() => verification.received - before >= MESSAGES, 'the messages');
  const messages = verification.received - before;
  const sampled = await broker.ask('stop');
  for (const publisher of publishers) publisher.limit = publisher.sent;
  const isDone = ({ confirmed, sent }) => confirmed === sent;
  await until(() => publishers.every(isDone), 'the last messages');
  for (const peer of peers) peer.destroy();
  return { messages, ...sampled, faults: verification.faults, first: verification.firstFault };
}

/** An offline session's queue, filled, then drained while it is sampled. */
async function drainOnce(target, { version, qos }, count, verification, onReady) {
  const identity = { ...target, clientId: 'sleeper', session: 'kept' };
  const sleeper = new Peer(identity);
  await sleeper.connect();
  await sleeper.subscribe(['drain/t'], qos);
  await sleeper.disconnect();
  const publisher = new Publisher(await open(target, 'filler'), {
    index: 0, qos, credit: count, window: WINDOW, copies: 1, verification,
    templates: [publishTemplate({ topicName: 'drain/t', size: SIZE, qos, version })],
  });
  publisher.limit = count;
  publisher.topUp();
  await until(() => publisher.acknowledged === count, 'filling the queue');
  await onReady();
  const peer = new Peer(identity);
  const back = peer.connect(resumePacket(identity));
  await peer.opened;
  const waiting = peer.onPacket;
  new Receiver(peer, { publishers: [publisher], order: 'next', version, verification });
  const receive = peer.onPacket;
  const goal = verification.received + count;
  publisher.topUp = () => {};
  peer.onPacket = (type, flags, bytes, at, end) =>
    (type === PUBLISH ? receive : waiting)(type, flags, bytes, at, end);
  await back;
  peer.onPacket = receive;
  await until(() => verification.received >= goal || verification.faults > 0, 'the drain');
  peer.destroy();
  publisher.peer.destroy();
}

async function measureDrain(broker, target, scenario) {
  const verification = new Verification();
  const count = Math.min(MESSAGES, DRAINED_MAX);
  await drainOnce(target, scenario, count, verification, async () => {});
  await drainOnce(target, scenario, count, verification, () => broker.ask('sample'));
  const sampled = await broker.ask('stop');
  return {
    messages: count, ...sampled, faults: verification.faults, first: verification.firstFault,
  };
}

async function run(scenario) {
  const broker = await startBroker();
  const target = { port: broker.port, version: scenario.version };
  try {
    if (scenario.kind === 'control') await broker.ask('handler');
    return scenario.kind === 'drain'
      ? await measureDrain(broker, target, scenario)
      : await measureFlow(broker, target, scenario);
  } finally {
    broker.stop();
  }
}

const SCENARIOS = [4, 5].flatMap((version) => [
  ...[0, 1, 2].map((qos) => ({ name: `${version}-q${qos}`, kind: 'flow', version, qos })),
  { name: `${version}-drain-q1`, kind: 'drain', version, qos: 1 },
  { name: `${version}-drain-q2`, kind: 'drain', version, qos: 2 },
]);
SCENARIOS.push({ name: 'control-q0', kind: 'control', version: 4, qos: 0 });

const wanted = values.only?.split(',');
const rows = [];
for (const scenario of SCENARIOS) {
  if (wanted !== undefined && !wanted.some((start) => scenario.name.startsWith(start))) continue;
  const { messages, bytes, ours, top, faults, first } = await run(scenario);
  const total = bytes / messages;
  const broker = ours / messages;
  const isRight = faults === 0 && (scenario.kind === 'control'
    ? broker >= OBJECT_BYTES : total < OBJECT_BYTES && broker <= OURS_BYTES_MAX);
  rows.push({ name: scenario.name, messages, total, broker, top, faults, isRight });
  console.log(`${scenario.name.padEnd(12)} ${String(messages).padStart(8)} messages, bytes each: `
    + `${total.toFixed(2)}, by the broker ${broker.toFixed(3)} ${isRight ? '' : `WRONG ${first}`}`);
  for (const [place, size] of top) {
    console.log(`${' '.repeat(15)}${(size / messages).toFixed(3).padStart(8)} ${place}`);
  }
}
if (values.json !== undefined) writeFileSync(values.json, JSON.stringify(rows, null, 2));
process.exit(rows.every(({ isRight }) => isRight) ? 0 : 1);
