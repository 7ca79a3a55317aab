/**
 * What the control plane remembers of a Network Connection and of a Session. There may be a hundred
 * thousand of each: plain fields, no closures, no object that only a few of them need.
 */
import type {
  ConnectionHandle,
  ConnectPacket,
  ProtocolVersion,
  SessionHandle,
  WillMessage,
} from '../core/contract.js';
import type { Durability } from '../engine/index.js';
import type { Transport } from '../listener/transport.js';
import type { LimitSettings, MqttSettings } from './broker-options.js';
import type { EnhancedAuthenticator, EnhancedExchange, Identity } from './hooks.js';
import { UNMOUNTED, sessionKey } from './mount-point.js';
import { TimerEntry } from './timer-wheel.js';

/** The door that a connection came through; one object for all connections of that door. */
export interface Door {
  readonly name: string;
  anonymous: 'allowed' | 'refused';
  /** Where its clients live in the tree of topics; '' = everywhere. `%c`, `%u`: see ADR 0016. */
  readonly mountPoint: string;
  /** As they hold here; the broker's own object where this listener says nothing else. */
  readonly limits: LimitSettings;
  readonly mqtt: MqttSettings;
  /** Of messages that come in here; undefined = as the engine. */
  readonly durability?: Durability;
}

/**
 * `waiting` for CONNECT, `deciding` about it, `connected`, `leaving` (it is cut off, its last bytes
 * go out), `gone`.
 *
 *     waiting -> deciding -> connected -> leaving -> gone
 *        \___________\____________\_________________/
 */
export type ConnectionState = 'waiting' | 'deciding' | 'connected' | 'leaving' | 'gone';

/** An authentication by AUTH packets that is under way. */
export interface AuthenticationExchange {
  readonly authenticator: EnhancedAuthenticator;
  readonly exchange: EnhancedExchange;
  /** The CONNECT that it belongs to; undefined when the client re-authenticates. */
  readonly connect?: ConnectPacket;
}

export class ClientConnection extends TimerEntry {
  readonly door: Door;
  readonly transport: Transport;
  handle: ConnectionHandle = 0;
  state: ConnectionState = 'waiting';
  protocolVersion: ProtocolVersion = 4;
  isBridge = false;
  /** Keep Alive as it holds, in seconds; 0 = none. */
  keepAliveSeconds = 0;
  /** Maximum Packet Size of the client; 0 = none. */
  maximumPacketSize = 0;
  clientId = '';
  /** Known once it is known who the client is. */
  mountPoint = UNMOUNTED;
  session: Session | undefined = undefined;
  identity: Identity | undefined = undefined;
  connectedAt = 0;
  /** Authentication Method of the CONNECT packet. */
  authenticationMethod: string | undefined = undefined;
  exchange: AuthenticationExchange | undefined = undefined;
  /** Set only when the authentication ends by itself. */
  identityExpiry: IdentityExpiry | undefined = undefined;
  /** Whether what let it in still holds; undefined = until it leaves. */
  stillHolds: (() => boolean | Promise<boolean>) | undefined = undefined;

  constructor(door: Door, transport: Transport) {
    super();
    this.door = door;
    this.transport = transport;
  }
}

/** The end of what an authenticator granted. */
export class IdentityExpiry extends TimerEntry {
  constructor(readonly connection: ClientConnection) {
    super();
  }
}

/** A session belongs to a Client Identifier behind a mount point. */
export interface SessionOwner {
  readonly clientId: string;
  readonly mountPoint: string;
}

export class Session extends TimerEntry {
  readonly clientId: string;
  readonly mountPoint: string;
  readonly handle: SessionHandle;
  identity: Identity;
  connection: ClientConnection | undefined = undefined;
  /** Session Expiry Interval, in seconds; EXPIRES_NEVER = for ever, 0 = with its connection. */
  expirySeconds = 0;
  /** Its number in the engine; 0 = it is not kept beyond this process. */
  storeId = 0;
  /** The highest number of its queue that is done with; 0 = none since the start. */
  lastDone = 0;
  /** Grows with each connection; only a stored session counts. */
  epoch = 0;
  /** Of its latest connection. */
  protocolVersion: ProtocolVersion = 4;
  /** When the connection ended (monotonic). */
  offlineAt = 0;
  will: WillMessage | undefined = undefined;
  /** Wills that are being published: an authorizer may take its time. */
  willsLeaving = 0;
  /** When a delayed will is due (monotonic). */
  willDue = Infinity;

  constructor(whose: SessionOwner, handle: SessionHandle, identity: Identity) {
    super();
    this.clientId = whose.clientId;
    this.mountPoint = whose.mountPoint;
    this.handle = handle;
    this.identity = identity;
  }

  /** No two sessions have the same. */
  get key(): string {
    return sessionKey(this.mountPoint, this.clientId);
  }
}

/** Session Expiry Interval that never ends. */
export const EXPIRES_NEVER = 0xffff_ffff;

const MS_PER_SECOND = 1_000;

/** When a session ends that has been offline since then (monotonic). */
export function expiryDueOf(offlineAt: number, expirySeconds: number): number {
  return expirySeconds === EXPIRES_NEVER ? Infinity : offlineAt + expirySeconds * MS_PER_SECOND;
}
