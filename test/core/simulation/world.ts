/** A world by seed: clients that do what clients do, in any order, over a network that lies. */
import { randomBySeed } from '../../support/random-packets.js';
import type { CoreOptions, CoreStats, Delivery, SessionHandle } from '../../../lib/core/contract.js';
import { Actor } from './actor.js';
import { Hub } from './hub.js';
import { Ledger } from './ledger.js';
import { Schedule } from './network.js';
import { SimulatedStore } from './store.js';

const TOPICS = ['t/0', 't/1', 't/2', 't/a/b', 'u/0', 'u', '$g/0', '$g/1', 'h/1'];
const FILTERS = ['t/0', 't/1', 't/+', 't/#', '+/0', '+/+', 't/a/b', 'u/#', 'u', '#', 'h/#',
  '$share/one/$g/#', '$share/two/$g/+'];
const STYLES = ['instant', 'slow', 'slow', 'bytewise'] as const;
const DRAIN_MS = 90_000;

export interface WorldOptions {
  readonly seed: number;
  readonly clients: number;
  readonly simulatedMs: number;
  /** `kept`: sessions are stored, and their messages pass the gate. Default `not kept`. */
  readonly sessions?: 'kept' | 'not kept';
  /** `asked`: before a message leaves for a client it is asked whether it may. */
  readonly receivers?: 'asked' | 'not asked';
  readonly trace?: (line: string) => void;
}
export interface WorldReport {
  readonly seed: number;
  readonly messages: number;
  readonly deliveries: number;
  readonly acknowledged: number;
  readonly refused: number;
  readonly drops: Record<string, number>;
  readonly failures: string[];
  readonly longestWaitMs: number;
  readonly violations: readonly string[];
  readonly leftover: string[];
}

export const ROOMY: CoreOptions = {
  memoryBytes: 32 << 20, hashSeed: 1n, connectionsMax: 512, sessionsMax: 512,
  packetBytesMax: 65_536, receiveMaximum: 20, topicAliasMaximum: 3, topicLevelsMax: 16,
  userPropertiesMax: 16, unauthenticatedBytesMax: 4096, queueMessagesMax: 1000,
  queueBytesMax: 1 << 20, slabBytesMax: 262_144, slabWatermarkBytes: 65_536, heldBytesMax: 65_536,
  withholdMsMax: 2000, retainedMessagesMax: 100, retainedBytesMax: 1 << 20,
  subscriptionsPerSessionMax: 100, sharedStrategy: 'round-robin', validatePayloadFormat: 'no',
  topicCacheMax: 1000, dropEventsPerTurnMax: 1_000_000,
};

/** Limits by seed: from roomy to so small that everything runs into them. */
function optionsFor(schedule: Schedule, seed: number): CoreOptions {
  const pick = <T>(...list: T[]): T => schedule.pick(list);
  return {
    ...ROOMY,
    hashSeed: BigInt(seed),
    memoryBytes: pick(8, 8, 32) << 20,
    receiveMaximum: pick(1, 3, 10, 20),
    queueMessagesMax: pick(5, 10, 50, 1000),
    queueBytesMax: pick(2_000, 20_000, 1 << 20),
    slabBytesMax: pick(4_000, 65_536),
    slabWatermarkBytes: pick(512, 4_096, 65_536),
    heldBytesMax: pick(200, 2_000, 65_536),
    retainedMessagesMax: pick(3, 100),
    sharedStrategy: pick('round-robin', 'sticky', 'hash-client', 'hash-topic'),
    topicCacheMax: pick(2, 5, 1000),
  };
}

export class World {
  readonly schedule: Schedule;
  readonly hub: Hub;
  readonly ledger: Ledger;
  readonly actors: Actor[] = [];
  private tokens = 0;
  private readonly refusedTokens = new Set<number>();
  private readonly handlers: SessionHandle[] = [];
  private isWild = true;
  private readonly sizes: readonly number[];

  constructor(private readonly options: WorldOptions) {
    this.schedule = new Schedule(randomBySeed(options.seed), options.trace);
    const { schedule } = this;
    this.hub = new Hub(schedule, optionsFor(schedule, options.seed));
    if (options.sessions === 'kept') {
      this.hub.store = new SimulatedStore(schedule, this.hub.core, (publisher) => {
        const actor = this.actors.find(({ traits }) => {
          return this.hub.sessions.get(traits.clientId)?.handle === publisher;
        });
        const connection = this.hub.core.connectionOf(publisher);
        if (actor?.version === 4 && connection !== 0) this.hub.core.disconnect(connection, 0x97);
      });
    }
    if (options.receivers === 'asked') this.hub.receivePolicy = 'ask';
    this.hub.lateness = schedule.pick([0, 0.2, 0.7]);
    if (schedule.chance(0.4)) this.hub.publishPolicy = 'ask';
    if (schedule.chance(0.3)) this.hub.denied.add('h/1');
    this.sizes = schedule.pick([[0, 10, 100], [10, 1000], [10, 100, 5000, 30_000]]);
    this.ledger = new Ledger(this.hub, this.actors);
    for (let at = 0; at < options.clients; at++) this.actors.push(this.makeActor(at));
    for (let at = schedule.below(3); at > 0; at--) this.makeHandler();
  }

  private makeActor(at: number): Actor {
    const { schedule } = this;
    const prefix = schedule.chance(0.15) ? 'ephemeral' : 'client';
    return new Actor({
      clientId: `${prefix}-${at}`,
      version: schedule.chance(0.5) ? 4 : 5,
      receiveMaximum: 1 + schedule.below(10),
      topicAliasMaximum: schedule.pick([0, 0, 1, 5]),
      maximumPacketSize: schedule.pick([0, 0, 0, 200, 2000]),
      laziness: schedule.pick([0, 0.1, 0.6]),
      refusal: schedule.pick([0, 0, 0.05]),
    }, schedule, this.hub, this.ledger);
  }

  private handle(session: SessionHandle, delivery: Delivery): void {
    const { core } = this.hub;
    const { payload } = delivery;
    const settle = () => {
      const refuses = this.schedule.chance(0.05);
      if (delivery.token === 0) core.grant(session);
      else core.settle(session, delivery.token, refuses ? 0x83 : 0);
      if (refuses) this.ledger.refusedByHandler(payload);
      if (this.isWild && this.schedule.chance(0.05)) this.publishFromHost();
    };
    if (this.schedule.chance(0.3)) settle();
    else this.schedule.after(this.schedule.below(400), settle);
  }

  /** A subscriber in this process that takes its time. */
  private makeHandler(): void {
    const { core } = this.hub;
    const session: SessionHandle = core.createHandlerSession({
      concurrency: 1 + this.schedule.below(4),
      acknowledgeAfterSettle: this.schedule.chance(0.5) ? 'yes' : 'no',
      queueMessagesMax: 1 + this.schedule.below(20),
    }, {
      reads: 'bytes',
      deliver: (delivery) => this.handle(session, delivery),
    });
    this.handlers.push(session);
    core.subscribe(session, this.schedule.pick(['t/+', '#', 'u']), {
      qos: this.schedule.pick([0, 1, 2]), retainHandling: this.schedule.pick([0, 2]),
    });
  }
  private publishFromHost(): void {
    const token = ++this.tokens;
    // A topic that the clients do not know of, so that nobody misses it.
    const reasonCode = this.hub.core.publish({
      topicName: `host/${this.schedule.below(30)}`, payload: 'from the host', qos: 1, retain: false,
    }, token);
    if (reasonCode >= 0x80) this.refusedTokens.add(token); // the answer may be all there is
  }

  private step(actor: Actor): void {
    if (!this.isWild) return;
    const { schedule } = this;
    this.schedule.after(1 + schedule.below(schedule.chance(0.1) ? 800 : 40), () => this.step(actor));
    if (actor.wire === undefined) {
      if (schedule.chance(0.3)) actor.connect(schedule.chance(0.15), schedule.pick(STYLES));
      return;
    }
    this.act(actor, schedule.random());
  }

  private act(actor: Actor, dice: number): void {
    const { schedule } = this;
    if (dice < 0.1) {
      const bits = schedule.pick([0, 0, 4, 8, 16, 32]);
      actor.subscribe(schedule.pick(FILTERS), schedule.below(3), bits, schedule.below(4) * 100);
    } else if (dice < 0.13) {
      const filters = [...actor.subscriptions.keys()];
      if (filters.length > 0) actor.unsubscribe(schedule.pick(filters));
    } else if (dice < 0.8) {
      for (let left = 1 + schedule.below(6); left > 0; left--) this.publish(actor);
    } else if (dice < 0.84) {
      if (actor.wire !== undefined) actor.wire.frozen = true;
    } else if (dice < 0.9) {
      actor.wire?.thaw();
    } else if (dice < 0.92) {
      actor.cut();
    } else if (dice < 0.93) {
      actor.abandon();
    } else if (dice < 0.94) {
      actor.disconnect();
    } else if (dice < 0.945) {
      this.hub.end(actor.traits.clientId);
      actor.startOver();
    } else if (dice < 0.97) {
      actor.catchUp();
    } else {
      actor.ping();
    }
  }
  private publish(actor: Actor): void {
    const { schedule } = this;
    const retain = schedule.chance(0.05);
    const expiry = actor.version === 5 && schedule.chance(0.1) ? 1 + schedule.below(3) : 0;
    actor.publish(
      schedule.pick(TOPICS), schedule.below(3), retain, schedule.pick(this.sizes), expiry,
    );
  }

  /** The wild part; then everybody comes back, reads and acknowledges, and it is quiet. */
  run(): WorldReport {
    const { schedule, hub } = this;
    for (const actor of this.actors) this.step(actor);
    schedule.run(this.options.simulatedMs);
    this.isWild = false;
    const end = schedule.now + DRAIN_MS;
    while (schedule.now < end) {
      for (const actor of this.actors) {
        if (actor.wire === undefined) actor.connect(false, 'instant');
        else actor.wire.hurry();
        actor.catchUp();
      }
      schedule.run(schedule.now + 500);
    }
    this.checkQuiet();
    this.ledger.checkNothingLost();
    this.ledger.checkRefusals();
    this.checkTokens();
    const leftover = this.tearDown();
    if (hub.broken !== undefined) this.ledger.violate(`the core trapped: ${String(hub.broken)}`);
    return this.report(leftover);
  }

  private checkQuiet(): void {
    for (const actor of this.actors) {
      const { clientId } = actor.traits;
      const session = this.hub.sessions.get(clientId);
      const info = session && this.hub.core.sessionInfo(session.handle);
      if (!actor.isConnected) this.ledger.violate(`${clientId} could not come back`);
      if (info !== undefined && info.queuedMessages !== 0) {
        this.ledger.violate(`${clientId} still has ${JSON.stringify(info)} when all is quiet`);
      }
      if (!actor.isIdle) this.ledger.violate(`${clientId} still waits for acknowledgements`);
    }
  }
  private checkTokens(): void {
    for (let token = 1; token <= this.tokens; token++) {
      const times = this.hub.tokens.get(token) ?? 0;
      if (times !== 1 && !this.refusedTokens.has(token)) this.ledger.violate(`token ${token} was told ${times} times`);
    }
  }

  /** Everything ends: what is still allocated has leaked. */
  private tearDown(): string[] {
    const { hub, schedule } = this;
    const { core } = hub;
    for (const actor of this.actors) actor.disconnect();
    schedule.run(schedule.now + 10_000);
    for (const clientId of [...hub.sessions.keys()]) hub.end(clientId);
    for (const handler of this.handlers) core.endSession(handler);
    for (const topicName of TOPICS) {
      core.publish({ topicName, payload: '', qos: 0, retain: true });
    }
    schedule.run(schedule.now + 10_000);
    const stored = hub.store?.leftover ?? 0;
    return [...leftovers(core.stats()), ...(stored === 0 ? [] : [`stored entries: ${stored}`])];
  }

  report(leftover: string[]): WorldReport {
    const { hub, ledger } = this;
    return {
      seed: this.options.seed, messages: ledger.messages.length, deliveries: ledger.deliveries,
      acknowledged: ledger.acknowledged, refused: ledger.refused,
      drops: Object.fromEntries(hub.dropReasons), failures: [...new Set(hub.failures)],
      longestWaitMs: ledger.longestWaitMs, violations: ledger.violations, leftover,
    };
  }
}

function leftovers(stats: CoreStats): string[] {
  const used = stats.memoryUsedBytes;
  const zero: Record<string, number> = {
    connections: stats.connections, sessions: stats.sessions, queued: stats.queuedMessages,
    subscriptions: stats.subscriptions, retained: stats.retainedMessages,
    'memory of records': used.record, 'memory of slabs': used.slab,
    'memory of messages': used.message, 'memory of carried packets': used.carry,
  };
  return Object.entries(zero).filter(([, value]) => value !== 0)
    .map(([name, value]) => `${name}: ${value}`);
}

const CLIENTS = 8;
const SIMULATED_MS = 12_000;

/** One world from its beginning to its end; what it could not finish is a violation, too. */
export function runWorld(
  seed: number, more: Pick<WorldOptions, 'sessions' | 'receivers' | 'trace'> = {},
): WorldReport {
  const world = new World({ seed, clients: CLIENTS, simulatedMs: SIMULATED_MS, ...more });
  try {
    return world.run();
  } catch (error) {
    world.ledger.violate(error instanceof Error ? error.message : String(error));
    return world.report([]);
  }
}
