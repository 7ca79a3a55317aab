/** What every engine promises, told as one suite that is run against each. */
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import type {
  Engine, FoundSession, FoundSubscription, LoadVisitor, QueueEntry, SessionRecord, StoredMessage, SubscriptionRecord, WillRecord,
} from '../../lib/engine/index.js';
import { GroupCommit, NUMBER_STEP, messageNumberOf } from '../../lib/engine/index.js';

export interface EngineFixture {
  readonly engine: Engine;
  /** Closes the engine and answers one that finds what the first one stored. */
  restart(): Promise<Engine>;
  dispose(): Promise<void>;
}

export const EMPTY = new Uint8Array(0);

/** The number of the nth message. */
export const nth = (n: number): number => n * NUMBER_STEP;

export function message(number: number, fields: Partial<StoredMessage> = {}): StoredMessage {
  return {
    number, topicName: Buffer.from(`topic/${number}`), properties: EMPTY,
    payload: Buffer.from(`payload ${number / NUMBER_STEP}`), qos: 1, retain: false, expiresAt: 0, publisher: 0, ...fields,
  };
}
export function entry(sessionId: number, number: number, fields: Partial<QueueEntry> = {}): QueueEntry {
  return {
    sessionId, number, qos: 1, retain: false,
    packetIdentifier: (number / NUMBER_STEP % 65_535) + 1, subscriptionIdentifiers: EMPTY,
    group: EMPTY, ...fields,
  };
}
export function session(sessionId: number, fields: Partial<SessionRecord> = {}): SessionRecord {
  return {
    sessionId, clientIdentifier: `client-${sessionId}`, epoch: 1, protocolVersion: 5,
    sessionExpiryInterval: 3_600, detachedAt: 0, sentThrough: 0, lastPacketIdentifier: 1,
    attributes: EMPTY, ...fields,
  };
}

/** Everything that a load told. */
export class Recorder implements LoadVisitor {
  readonly sessions = new Map<number, SessionRecord>();
  readonly subscriptions: SubscriptionRecord[] = [];
  readonly wills: WillRecord[] = [];
  readonly inbounds: [number, number][] = [];
  readonly releases: [number, number, number][] = [];
  readonly retainedMessages = new Map<string, StoredMessage>();
  readonly messages = new Map<number, StoredMessage>();
  readonly entries: QueueEntry[] = [];
  readonly spills: { sessionId: number; head: number; tail: number; messages: number }[] = [];

  session(found: FoundSession): void {
    const {
      sessionId, clientIdentifier, username, epoch, protocolVersion, sessionExpiryInterval, detachedAt,
      sentThrough, lastPacketIdentifier, attributes,
    } = found;
    this.sessions.set(sessionId, {
      sessionId, clientIdentifier, username, epoch, protocolVersion, sessionExpiryInterval, detachedAt,
      sentThrough, lastPacketIdentifier, attributes: Buffer.from(attributes),
    });
  }
  subscription(record: FoundSubscription): void {
    this.subscriptions.push({ ...record, topicFilter: Buffer.from(record.topicFilter).toString() });
  }
  will(record: WillRecord): void {
    this.wills.push(record);
  }
  inbound(sessionId: number, packetIdentifier: number): void {
    this.inbounds.push([sessionId, packetIdentifier]);
  }
  released(sessionId: number, number: number, packetIdentifier: number): void {
    this.releases.push([sessionId, number, packetIdentifier]);
  }
  retained(stored: StoredMessage): void {
    this.retainedMessages.set(Buffer.from(stored.topicName).toString(), stored);
  }
  message(stored: StoredMessage): void {
    if (this.messages.has(stored.number)) throw new Error(`message ${stored.number} was told twice`);
    this.messages.set(stored.number, stored);
  }
  queueEntry(queued: QueueEntry): void {
    if (!this.messages.has(messageNumberOf(queued.number))) throw new Error('an entry came before its message');
    this.entries.push(queued);
  }
  spilled(sessionId: number, part: { head: number; tail: number; messages: number }): void {
    this.spills.push({ sessionId, ...part });
  }
  payloadsOf(sessionId: number): string[] {
    return this.entries.filter((queued) => queued.sessionId === sessionId)
      .map((queued) => Buffer.from(this.messages.get(messageNumberOf(queued.number))!.payload).toString());
  }
}

export async function loaded(engine: Engine): Promise<Recorder> {
  const recorder = new Recorder();
  await engine.load(recorder);
  return recorder;
}

/** One message for several sessions, as one unit. */
export function enqueue(
  batch: ReturnType<Engine['createBatch']>, stored: StoredMessage, sessions: readonly number[],
): void {
  batch.putMessage(stored, sessions.length);
  for (const sessionId of sessions) batch.putQueueEntry(entry(sessionId, stored.number));
}

export function describeEngine(name: string, create: () => Promise<EngineFixture>): void {
  describe(`${name} engine`, () => {
    let fixture: EngineFixture;
    let engine: Engine;
    beforeEach(async () => {
      fixture = await create();
      engine = fixture.engine;
    });
    afterEach(() => fixture.dispose());

    const restarted = async (): Promise<Recorder> => {
      engine = await fixture.restart();
      return loaded(engine);
    };
    records(() => engine, restarted);
    queues(() => engine, restarted);
    ends(() => engine, restarted);
  });
}

type Restart = () => Promise<Recorder>;

function records(engine: () => Engine, restarted: Restart): void {
  it('gives a session back field by field', async () => {
    await loaded(engine());
    const record = session(7, {
      clientIdentifier: 'Zähler/7', username: 'ada', epoch: 12, protocolVersion: 4,
      sessionExpiryInterval: 0xffff_ffff, detachedAt: 1_790_000_000_123, sentThrough: 2 ** 40,
      lastPacketIdentifier: 65_535, attributes: Buffer.from([1, 2, 3]),
    });
    const batch = engine().createBatch();
    batch.putSession(record);
    batch.putSession(session(8));
    await engine().commit(batch);
    const found = await restarted();
    expect(found.sessions.get(7)).toEqual(record);
    expect(found.sessions.get(8)?.username).toBeUndefined();
  });

  it('keeps subscriptions, wills and retained messages until they are deleted', async () => {
    await loaded(engine());
    const batch = engine().createBatch();
    batch.putSession(session(1));
    const options = { sessionId: 1, options: 0x2e, subscriptionIdentifier: 268_435_455 };
    batch.putSubscription({ ...options, topicFilter: '$share/g/a/+/ü' });
    batch.putSubscription({ ...options, topicFilter: 'gone/#' });
    batch.putWill({ sessionId: 1, message: message(nth(5)), willDelayIntervalSeconds: 30, dueAt: 99.5 });
    batch.putRetained(message(nth(6), { topicName: Buffer.from('kept'), retain: true, qos: 2, expiresAt: 17 }));
    batch.putRetained(message(nth(7), { topicName: Buffer.from('gone') }));
    await engine().commit(batch);
    batch.reset();
    batch.deleteSubscription(1, 'gone/#');
    batch.deleteRetained(Buffer.from('gone'));
    await engine().commit(batch);
    const found = await restarted();
    expect(found.subscriptions).toEqual([{ ...options, topicFilter: '$share/g/a/+/ü' }]);
    expect(found.wills[0]).toMatchObject({ sessionId: 1, willDelayIntervalSeconds: 30, dueAt: 99.5 });
    expect(Buffer.from(found.wills[0].message.payload).toString()).toBe('payload 5');
    expect([...found.retainedMessages.keys()]).toEqual(['kept']);
    expect(found.retainedMessages.get('kept')).toMatchObject({ number: nth(6), retain: true, qos: 2, expiresAt: 17 });
  });

  it('keeps the Packet Identifiers of half-done QoS 2 exchanges of both directions', async () => {
    await loaded(engine());
    const batch = engine().createBatch();
    batch.putSession(session(1));
    for (const packetIdentifier of [1, 2, 65_535]) batch.putInbound(1, packetIdentifier);
    enqueue(batch, message(nth(10), { qos: 2 }), [1]);
    await engine().commit(batch);
    batch.reset();
    batch.deleteInbound(1, 2);
    batch.releaseQueueEntry(1, nth(10), 11);
    await engine().commit(batch);
    const found = await restarted();
    expect(found.inbounds).toEqual([[1, 1], [1, 65_535]]);
    expect(found.releases).toEqual([[1, nth(10), 11]]);
    expect(found.entries).toEqual([]);
    batch.reset();
    const done = engine().createBatch();
    done.deleteReleased(1, nth(10));
    await engine().commit(done);
    expect((await restarted()).releases).toEqual([]);
  });

  it('never gives a number twice, restart or not', async () => {
    await loaded(engine());
    const given = new Set<number>();
    let highest = 0;
    for (let round = 0; round < 3; round++) {
      for (let i = 0; i < 3_000; i++) {
        const number = engine().nextNumber();
        expect(number > highest && !given.has(number)).toBe(true);
        given.add(number);
        highest = number;
      }
      const batch = engine().createBatch();
      batch.putSession(session(highest));
      await engine().commit(batch);
      await restarted();
    }
  });
}

function queues(engine: () => Engine, restarted: Restart): void {
  it('keeps the order of each queue and tells a shared body once', async () => {
    await loaded(engine());
    const batch = engine().createBatch();
    for (const sessionId of [1, 2, 3]) batch.putSession(session(sessionId));
    for (let number = 1; number <= 300; number++) {
      enqueue(batch, message(nth(number)), number % 3 === 0 ? [1, 2, 3] : [(number % 3) + 1]);
    }
    await engine().commit(batch);
    const found = await restarted();
    const numbers = found.entries.filter((queued) => queued.sessionId === 2).map((queued) => queued.number);
    expect(numbers).toEqual([...numbers].sort((a, b) => a - b));
    expect(found.payloadsOf(2)).toEqual(numbers.map((number) => `payload ${number / NUMBER_STEP}`));
    expect(found.messages.size).toBe(300);
    expect(found.entries).toHaveLength(500);
  });

  it('removes a shared body with its last queue entry', async () => {
    await loaded(engine());
    const batch = engine().createBatch();
    for (const sessionId of [1, 2]) batch.putSession(session(sessionId));
    enqueue(batch, message(nth(9)), [1, 2]);
    await engine().commit(batch);
    batch.reset();
    batch.deleteQueueEntry(1, nth(9));
    await engine().commit(batch);
    expect((await restarted()).payloadsOf(2)).toEqual(['payload 9']);
    const last = engine().createBatch();
    last.deleteQueueEntry(2, nth(9));
    await engine().commit(last);
    const report = await engine().check();
    expect(report.records).toMatchObject({ 'message body': 0, 'queue entry': 0 });
    expect(report.losses).toEqual([]);
  });

  it('stores one message twice for one session when it is asked to', async () => {
    await loaded(engine());
    const batch = engine().createBatch();
    batch.putSession(session(1));
    batch.putMessage(message(nth(4)), 2);
    batch.putQueueEntry(entry(1, nth(4)));
    batch.putQueueEntry(entry(1, nth(4) + 1, {
      qos: 0, retain: true, packetIdentifier: 6, subscriptionIdentifiers: Buffer.from([0x0b, 7]),
    }));
    await engine().commit(batch);
    const found = await restarted();
    expect(found.payloadsOf(1)).toEqual(['payload 4', 'payload 4']);
    expect(found.entries[1]).toMatchObject({ retain: true, qos: 0, packetIdentifier: 6 });
    expect([...found.entries[1].subscriptionIdentifiers]).toEqual([0x0b, 7]);
  });

  it('refuses a field that is longer than its length can say, and keeps the rest', async () => {
    await loaded(engine());
    const batch = engine().createBatch();
    batch.putSession(session(1));
    batch.putMessage(message(nth(4)), 1);
    const tooLong = new Uint8Array(65_536);
    expect(() => batch.putQueueEntry(entry(1, nth(4), { subscriptionIdentifiers: tooLong })))
      .toThrow('65536 does not fit into 16 bits');
    batch.putMessage(message(nth(5)), 1);
    batch.putQueueEntry(entry(1, nth(5)));
    await engine().commit(batch);
    expect((await restarted()).payloadsOf(1)).toEqual(['payload 5']);
  });

  it('tells what memory is given for, and reads the rest from where it is asked to', async () => {
    await loaded(engine());
    const batch = engine().createBatch();
    batch.putSession(session(1));
    batch.putSession(session(2));
    for (let number = 1; number <= 1_500; number++) enqueue(batch, message(nth(number)), number % 5 ? [1] : [1, 2]);
    await engine().commit(batch);
    await restarted();
    const again = await restartedWith(engine(), { queueMessagesPerSessionMax: 1_000 });
    expect(again.spills).toEqual([{ sessionId: 1, head: nth(1_001), tail: nth(1_500), messages: 500 }]);
    const drained: string[] = [];
    let after = nth(1_000);
    for (let end = false; !end;) {
      const slice = await engine().readQueue(1, after, { messagesMax: 128, bytesMax: 1_000_000 });
      slice.messages.forEach((stored) => drained.push(Buffer.from(stored.payload).toString()));
      after = slice.entries.at(-1)?.number ?? after;
      end = slice.end;
    }
    expect(drained).toEqual(Array.from({ length: 500 }, (_, i) => `payload ${i + 1_001}`));
  });
}

async function restartedWith(engine: Engine, limits: object): Promise<Recorder> {
  const recorder = new Recorder();
  await engine.load(recorder, limits);
  return recorder;
}

function ends(engine: () => Engine, restarted: Restart): void {
  it('forgets an ended session and all that stood below it', async () => {
    await loaded(engine());
    const batch = engine().createBatch();
    for (const sessionId of [1, 2]) {
      batch.putSession(session(sessionId));
      batch.putSubscription({ sessionId, topicFilter: '#', options: 1, subscriptionIdentifier: 0 });
      batch.putInbound(sessionId, 3);
    }
    for (let number = 1; number <= 1_200; number++) enqueue(batch, message(nth(number)), [1, 2]);
    await engine().commit(batch);
    batch.reset();
    batch.deleteSession(1);
    await engine().commit(batch);
    const found = await restarted();
    expect([...found.sessions.keys()]).toEqual([2]);
    expect(found.payloadsOf(1)).toEqual([]);
    expect(found.payloadsOf(2)).toHaveLength(1_200);
    expect(found.subscriptions).toHaveLength(1);
    expect(found.inbounds).toEqual([[2, 3]]);
    const group = new GroupCommit(engine(), { committed() {}, state() {}, fault() {} });
    group.sweep();
    await until(async () => (await engine().check()).records['queue entry'] === 1_200
      && (await engine().check()).records['ended session'] === 0);
    group.unit().deleteSession(2);
    await until(async () => (await engine().check()).records['message body'] === 0);
    expect((await engine().check()).losses).toEqual([]);
  });

  it('applies a batch again without harm', async () => {
    await loaded(engine());
    const batch = engine().createBatch();
    batch.putSession(session(1));
    enqueue(batch, message(nth(1)), [1]);
    await engine().commit(batch);
    await engine().commit(batch);
    const found = await restarted();
    expect(found.payloadsOf(1)).toEqual(['payload 1']);
  });
}

export async function until(condition: () => Promise<boolean>, milliseconds = 10_000): Promise<void> {
  const limit = performance.now() + milliseconds;
  while (!await condition()) {
    if (performance.now() > limit) throw new Error('the condition did not come about in time');
    await new Promise((resolve) => setImmediate(resolve));
  }
}
