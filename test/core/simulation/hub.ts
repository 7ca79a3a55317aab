/**
 * The smallest control plane that keeps the rules: sessions by client identifier, takeover, clean
 * start. It answers at once, or late and in any order.
 */
import { Core } from '../../../lib/core/core.js';
import type {
  ConnectionHandle, ConnectPacket, CoreEvents, CoreOptions, DropReason, SessionHandle,
} from '../../../lib/core/contract.js';
import type { Schedule, Wire } from './network.js';
import { SimulatedStore } from './store.js';

export interface HubSession {
  readonly clientId: string;
  readonly handle: SessionHandle;
  readonly isEphemeral: boolean;
}

const UNEXPECTED = ['connack', 'suback', 'unsuback', 'pingresp'] as const;

export class Hub implements CoreEvents {
  readonly core: Core;
  readonly sessions = new Map<string, HubSession>();
  private readonly byHandle = new Map<SessionHandle, HubSession>();
  /** `session handle topic` -> messages that the core said it has dropped. */
  readonly drops = new Map<string, number>();
  readonly dropsByTopic = new Map<string, number>();
  readonly dropReasons = new Map<string, number>();
  /** Token -> how often the core told that its message is done with. */
  readonly tokens = new Map<number, number>();
  private readonly newest = new Map<string, ConnectionHandle>();
  readonly failures: string[] = [];
  broken: unknown;
  /** How likely an answer comes at a later time. */
  lateness = 0;
  publishPolicy: 'allow' | 'ask' = 'allow';
  readonly denied = new Set<string>();
  /** `ask`: nobody receives what was not allowed; the answers are yes, and may be late. */
  receivePolicy: 'allow' | 'ask' = 'allow';
  /** Keeps the sessions that outlive their connection; undefined = nothing is kept. */
  store: SimulatedStore | undefined = undefined;

  constructor(readonly schedule: Schedule, readonly options: CoreOptions) {
    this.core = new Core(options, this, {
      now: () => schedule.now,
      defer: (fn) => schedule.after(0, fn),
      broken: (error) => { this.broken = error; },
      listenerFailed: (error) => { throw error; },
    });
    this.tick();
  }

  private tick(): void {
    this.core.tick(this.schedule.now, this.schedule.now);
    this.schedule.after(250, () => this.tick());
  }
  private answer(fn: () => void): void {
    if (this.schedule.chance(this.lateness)) this.schedule.after(this.schedule.below(300), fn);
    else fn();
  }

  accept(wire: Wire): void {
    this.core.open(wire);
  }

  connect(connection: ConnectionHandle, packet: ConnectPacket): void {
    this.newest.set(packet.clientIdentifier, connection);
    this.answer(() => {
      // Who has come back meanwhile is not to be taken over by its own past.
      if (this.newest.get(packet.clientIdentifier) !== connection) this.core.destroy(connection);
      else this.admit(connection, packet);
    });
  }
  private admit(connection: ConnectionHandle, packet: ConnectPacket): void {
    if (this.core.transportOf(connection) === undefined) return;
    const { clientIdentifier: clientId, cleanStart } = packet;
    let session = this.sessions.get(clientId);
    this.schedule.trace?.(`core admits ${clientId} as connection ${connection}`);
    if (session !== undefined) {
      const before = this.core.connectionOf(session.handle);
      if (before !== 0) {
        this.core.detach(session.handle);
        this.core.disconnect(before, 0x8e);
      }
    }
    if (session !== undefined && cleanStart) {
      this.end(clientId);
      session = undefined;
    }
    const sessionPresent = session !== undefined;
    session ??= this.create(clientId);
    this.schedule.trace?.(`core gives ${clientId} session ${session.handle}`);
    this.core.accept(connection, session.handle, {
      keepAliveMs: 0,
      receiveMaximum: packet.receiveMaximum ?? 65_535,
      maximumPacketSize: packet.maximumPacketSize ?? 0,
      topicAliasMaximum: Math.min(packet.topicAliasMaximum ?? 0, this.options.topicAliasMaximum),
      publishPolicy: this.publishPolicy,
      connack: {
        reasonCode: 0, sessionPresent,
        ...(packet.protocolVersion === 5 ? {
          receiveMaximum: this.options.receiveMaximum,
          topicAliasMaximum: this.options.topicAliasMaximum,
        } : {}),
      },
    });
  }
  private create(clientId: string): HubSession {
    const handle = this.core.createSession();
    const session = { clientId, handle, isEphemeral: clientId.startsWith('ephemeral') };
    if (!session.isEphemeral) this.store?.keep(handle);
    if (this.receivePolicy === 'ask') this.core.setReceivePolicy(handle, 'ask');
    this.sessions.set(clientId, session);
    this.byHandle.set(handle, session);
    return session;
  }
  /** Ends Session State, connected or not. */
  end(clientId: string): void {
    const session = this.sessions.get(clientId);
    if (session === undefined) return;
    this.schedule.trace?.(`core ends session ${session.handle} of ${clientId}`);
    const connection = this.core.connectionOf(session.handle);
    this.sessions.delete(clientId);
    this.core.endSession(session.handle);
    if (connection !== 0) this.core.disconnect(connection, 0x98);
  }

  subscribe(connection: ConnectionHandle, packet: Parameters<CoreEvents['subscribe']>[1]): void {
    this.answer(() => {
      const session = this.core.sessionOf(connection);
      const codes = packet.subscriptions.map((one) => {
        if (session === 0) return 0x80;
        try {
          this.core.subscribe(session, one.filter, {
            ...one, subscriptionIdentifier: packet.subscriptionIdentifier,
          });
          return one.qos;
        } catch {
          return 0x80;
        }
      });
      this.core.answerSubscribe(connection, packet.packetIdentifier, codes);
    });
  }
  unsubscribe(connection: ConnectionHandle, packet: Parameters<CoreEvents['unsubscribe']>[1]): void {
    this.answer(() => {
      const session = this.core.sessionOf(connection);
      const codes = packet.topicFilters.map((topicFilter) => {
        const parts = /^\$share\/([^/]+)\/(.*)$/.exec(topicFilter);
        const found = parts === null
          ? this.core.unsubscribe(session, topicFilter)
          : this.core.unsubscribe(session, parts[2]!, parts[1]!);
        return found ? 0 : 0x11;
      });
      this.core.answerUnsubscribe(connection, packet.packetIdentifier, codes);
    });
  }
  disconnect(connection: ConnectionHandle): void {
    this.core.closeAfterFlush(connection);
  }
  auth(): void {
    throw new Error('nobody sends AUTH here');
  }
  authorizePublish(connection: ConnectionHandle, topicName: string): void {
    this.answer(() => this.core.answerPublish(
      connection, this.denied.has(topicName) ? 0x87 : 0,
      { cache: this.schedule.chance(0.5) ? 'yes' : 'no' },
    ));
  }
  authorizeReceive(
    session: SessionHandle, _topicName: string, serial: number, rules: number,
  ): void {
    this.answer(() => this.core.answerReceive(session, { serial, rules }, 'allowed'));
  }
  published(token: number): void {
    this.tokens.set(token, (this.tokens.get(token) ?? 0) + 1);
  }
  failed(connection: ConnectionHandle, reasonCode: number, detail: string): void {
    this.schedule.trace?.(`core fails connection ${connection}: ${detail}`);
    this.failures.push(`0x${reasonCode.toString(16)} ${detail}`);
    this.core.closeAfterFlush(connection);
  }
  dropped(session: SessionHandle, topicName: string, _qos: number, reason: DropReason): void {
    this.schedule.trace?.(`core drops for session ${session}: ${topicName} ${reason}`);
    add(this.drops, `${session} ${topicName}`);
    add(this.dropsByTopic, topicName);
    add(this.dropReasons, reason);
  }
  withheldTooLong(connection: ConnectionHandle): void {
    this.schedule.trace?.(`core has withheld too long for connection ${connection}`);
    this.core.disconnect(connection, 0x97);
  }
  closed(connection: ConnectionHandle): void {
    void connection;
    for (const session of [...this.sessions.values()]) {
      if (session.isEphemeral && this.core.connectionOf(session.handle) === 0) {
        this.end(session.clientId);
      }
    }
  }
  connack = (): void => unexpected(UNEXPECTED[0]);
  suback = (): void => unexpected(UNEXPECTED[1]);
  unsuback = (): void => unexpected(UNEXPECTED[2]);
  pingresp = (): void => unexpected(UNEXPECTED[3]);
}

function unexpected(name: string): never {
  throw new Error(`${name} in the server role`);
}

export function add(counts: Map<string, number>, key: string, by = 1): void {
  counts.set(key, (counts.get(key) ?? 0) + by);
}
