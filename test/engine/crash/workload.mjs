// The process that is going to be killed: writes units of every kind through the group commit and says on standard output
// what it is about to do (`?`) and what was acknowledged (`!`), one JSON line for each.
//
//   node workload.mjs <index of the compiled engine> <directory> <seed> <durability>
import { existsSync, rmSync, writeFileSync } from 'node:fs';
import { bodyOf, random } from './model.mjs';
import { say } from './say.mjs';

const [, , index, path, seed, durability] = process.argv;
const api = await import(index);
const next = random(Number(seed));
const SESSIONS = 12;
const RETAINED = 10;
const OUTSTANDING_MAX = 200;
const EMPTY = new Uint8Array(0);

const queues = new Map();
const inbound = new Map();
const released = new Map();
const bodies = new Map();
const engine = api.createFileEngine({ path, durability });
await engine.open();
await engine.load({
  session(record) {
    queues.set(record.sessionId, []);
    inbound.set(record.sessionId, new Set());
    released.set(record.sessionId, new Map());
  },
  subscription() {}, will() {}, retained() {},
  inbound: (sessionId, packetIdentifier) => inbound.get(sessionId).add(packetIdentifier),
  released: (sessionId, number, packetIdentifier) => released.get(sessionId).set(number, packetIdentifier),
  message: (message) => bodies.set(message.number, message),
  queueEntry: (entry) => queues.get(entry.sessionId).push(entry),
  spilled() {
    throw new Error('the workload never queues that much');
  },
}, { queueMessagesPerSessionMax: 1_000_000, queueBytesMax: 1e9 });

let outstanding = 0;
const waiting = new Map();
let tokens = 0;
const group = new api.GroupCommit(engine, {
  committed(done) {
    for (const token of done) {
      say({ '!': waiting.get(token) });
      waiting.delete(token);
      outstanding--;
    }
    schedule();
  },
  state(state, error) {
    say({ state, code: error?.code, message: error?.message });
    if (state === 'stalled' && process.env.DISK_FULL !== undefined) {
      setTimeout(() => rmSync(process.env.DISK_FULL, { force: true }), 20 + next(100));
    }
    if (state === 'failed') process.exit(3);
  },
  fault(error) {
    throw error;
  },
}, { retryMs: 5, retryMsMax: 50 });

/** `effects` is what the verifier is to find or not to find afterwards. */
function unit(effects, write) {
  const id = `${process.pid}/${tokens}`;
  say({ '?': { id, effects } });
  write(group.unit());
  waiting.set(tokens, id);
  group.wait(tokens++);
  outstanding++;
}

function publish() {
  const number = engine.nextNumber();
  const all = [...queues.keys()];
  const count = 1 + next(Math.min(3, all.length));
  const receivers = [];
  while (receivers.length < count) {
    const sessionId = all[next(all.length)];
    if (!receivers.includes(sessionId)) receivers.push(sessionId);
  }
  unit(receivers.map((sessionId) => ['queue', sessionId, number]), (batch) => {
    const { topicName, payload } = bodyOf(number);
    const message = {
      number, topicName, payload, properties: EMPTY, qos: 1 + (number % 2), retain: false, expiresAt: 0, publisher: 0,
    };
    batch.putMessage(message, receivers.length);
    for (const sessionId of receivers) {
      const entry = {
        sessionId, number, qos: message.qos, retain: false,
        packetIdentifier: (number % 65_535) + 1, subscriptionIdentifiers: EMPTY,
        group: EMPTY,
      };
      batch.putQueueEntry(entry);
      queues.get(sessionId).push(entry);
    }
  });
}
function acknowledge() {
  const sessionId = [...queues.keys()][next(queues.size)];
  const entry = queues.get(sessionId).shift();
  if (entry === undefined) return;
  const { number, packetIdentifier } = entry;
  if (entry.qos === 1) {
    unit([['-queue', sessionId, number]], (batch) => batch.deleteQueueEntry(sessionId, number));
    return;
  }
  released.get(sessionId).set(number, packetIdentifier);
  unit([['-queue', sessionId, number], ['released', sessionId, number]], (batch) => {
    batch.releaseQueueEntry(sessionId, number, packetIdentifier);
  });
}
function complete() {
  const sessionId = [...queues.keys()][next(queues.size)];
  const [number] = released.get(sessionId).keys();
  if (number === undefined) return;
  released.get(sessionId).delete(number);
  unit([['-released', sessionId, number]], (batch) => batch.deleteReleased(sessionId, number));
}
function receive() {
  const sessionId = [...queues.keys()][next(queues.size)];
  const known = inbound.get(sessionId);
  const packetIdentifier = 1 + next(20);
  if (known.delete(packetIdentifier)) {
    unit([['-inbound', sessionId, packetIdentifier]], (batch) => batch.deleteInbound(sessionId, packetIdentifier));
  } else {
    known.add(packetIdentifier);
    unit([['inbound', sessionId, packetIdentifier]], (batch) => batch.putInbound(sessionId, packetIdentifier));
  }
}
function retain() {
  const number = engine.nextNumber();
  const topic = next(RETAINED);
  unit([['retained', topic, number]], (batch) => batch.putRetained({
    number, topicName: Buffer.from(`retained/${topic}`), payload: bodyOf(number).payload, properties: EMPTY, qos: 1,
    retain: true, expiresAt: 0, publisher: 0,
  }));
}
function begin() {
  const sessionId = engine.nextNumber();
  queues.set(sessionId, []);
  inbound.set(sessionId, new Set());
  released.set(sessionId, new Map());
  unit([['session', sessionId, 0]], (batch) => batch.putSession({
    sessionId, clientIdentifier: `client-${sessionId}`, epoch: 1, protocolVersion: 5, sessionExpiryInterval: 60,
    detachedAt: 0, sentThrough: 0, lastPacketIdentifier: 1, attributes: EMPTY,
  }));
}
function end() {
  const sessionId = [...queues.keys()][next(queues.size)];
  queues.delete(sessionId);
  inbound.delete(sessionId);
  released.delete(sessionId);
  unit([['-session', sessionId, 0]], (batch) => batch.deleteSession(sessionId));
}

function step() {
  if (queues.size < SESSIONS) begin();
  const choice = next(100);
  if (choice < 45) publish();
  else if (choice < 72) acknowledge();
  else if (choice < 80) complete();
  else if (choice < 88) receive();
  else if (choice < 99) retain();
  else end();
}
let isScheduled = false;
function schedule() {
  if (isScheduled || outstanding >= OUTSTANDING_MAX) return;
  isScheduled = true;
  setTimeout(() => {
    isScheduled = false;
    const count = 1 + next(40);
    for (let i = 0; i < count && outstanding < OUTSTANDING_MAX; i++) step();
    const flag = process.env.DISK_FULL;
    if (flag !== undefined && group.state === 'ok' && next(40) === 0 && !existsSync(flag)) writeFileSync(flag, '');
    schedule();
  }, next(3));
}
say({ ready: true });
schedule();
