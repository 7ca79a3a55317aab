/**
 * All Network Connections: from the Transport that a door hands over to `closed`. What ends a
 * connection ends it here, in two steps: its session is cut off at once (so that wills, expiry and
 * publishers wait for no dead peer), and the connection itself goes when its last bytes are out.
 */
import type {
  ConnectionHandle, ConnectionLimits, DisconnectPacket, LimitsHandle, ReasonFields,
} from '../core/contract.js';
import type { Transport } from '../listener/transport.js';
import { cappedExpiry, serverReference } from './connect-rules.js';
import type { BrokerContext } from './context.js';
import { messageOf } from './errors.js';
import { named } from './mount-point.js';
import type { ClientDescription, ClientDisconnectedEvent } from './events.js';
import type { AdmittedClient } from './hooks.js';
import {
  ADMINISTRATIVE_ACTION,
  DISCONNECT_WITH_WILL,
  KEEP_ALIVE_TIMEOUT,
  MAXIMUM_CONNECT_TIME,
  PROTOCOL_ERROR,
  SERVER_UNAVAILABLE,
  SUCCESS,
  UNSPECIFIED_ERROR,
  connackFailure,
  hexCode,
} from './reason-codes.js';
import { ClientConnection } from './records.js';
import type { Door, IdentityExpiry } from './records.js';
import type { SessionRegistry } from './session-registry.js';

const MS_PER_SECOND = 1_000;
const KEEP_ALIVE_GRACE = 1.5;
/** Fixed header, flags, Reason Code, Property Length, and the headers of two strings. */
const BARE_PACKET_BYTES_MAX = 16;

export interface Ending {
  readonly by: ClientDisconnectedEvent['by'];
  readonly reasonCode: number;
  readonly reason: string;
}

export class Connections {
  readonly #context: BrokerContext;
  readonly #sessions: SessionRegistry;
  readonly #byHandle = new Map<ConnectionHandle, ClientConnection>();
  readonly #limits = new Map<Door, LimitsHandle>();
  /** Being opened: the core may tell of it before `open` has answered its handle. */
  #opening: ClientConnection | undefined = undefined;
  #emptied: (() => void) | undefined = undefined;

  constructor(context: BrokerContext, sessions: SessionRegistry) {
    this.#context = context;
    this.#sessions = sessions;
  }

  get size(): number {
    return this.#byHandle.size;
  }

  all(): IterableIterator<ClientConnection> {
    return this.#byHandle.values();
  }

  get(handle: ConnectionHandle): ClientConnection | undefined {
    const known = this.#byHandle.get(handle);
    if (known !== undefined || this.#opening === undefined) return known;
    return this.#adopt(this.#opening, handle);
  }

  open(transport: Transport, door: Door): void {
    const { core, clock, options, wheel, counters } = this.#context;
    const now = clock.now();
    if (this.#byHandle.size >= options.limits.connectionsMax) {
      this.#turnAway(transport, door, 'limits.connectionsMax is reached');
      return;
    }
    const answer = options.gate?.opened(transport.remoteAddress, now, clock.wall(), door.name);
    if (answer?.kind === 'refuse') {
      this.#turnAway(transport, door, answer.reason);
      return;
    }
    const connection = new ClientConnection(door, transport);
    counters.connectionsAccepted += 1;
    connection.connectedAt = now;
    wheel.set(connection, now + door.limits.connectTimeoutSeconds * MS_PER_SECOND);
    this.#opening = connection;
    try {
      const handle = core.open(transport, now, {
        limits: this.#limitsOf(door),
        pace: options.gate?.pace?.(now, door.name),
      });
      if (this.#opening === connection) this.#adopt(connection, handle);
      this.#letWait(connection, answer?.delayMs ?? 0);
    } catch (error) {
      // out of memory: nobody is owed an answer yet
      this.#opening = undefined;
      wheel.cancel(connection);
      options.gate?.closed(transport.remoteAddress, door.name);
      this.#turnAway(transport, door, messageOf(error));
    }
  }

  /** A door with limits of its own has a table in the core, made when it is used first. */
  #limitsOf(door: Door): LimitsHandle | undefined {
    const { core, options } = this.#context;
    if (door.limits === options.limits && door.mqtt === options.mqtt) return undefined;
    let limits = this.#limits.get(door);
    if (limits === undefined) {
      limits = core.createLimits(coreLimits(door));
      this.#limits.set(door, limits);
    }
    return limits;
  }

  /** Connections come faster than they may: this one is read later, those inside go on. */
  #letWait(connection: ClientConnection, delayMs: number): void {
    const { core, wheel } = this.#context;
    if (delayMs <= 0 || connection.state !== 'waiting') return;
    core.slowDown(connection.handle, delayMs);
    const timeoutMs = connection.door.limits.connectTimeoutSeconds * MS_PER_SECOND;
    wheel.set(connection, connection.connectedAt + delayMs + timeoutMs);
  }

  /** Somebody was banned: whoever of them is inside goes. */
  putOut(isBanned: (who: AdmittedClient) => boolean): void {
    for (const connection of [...this.#byHandle.values()]) {
      if (!isBanned(admitted(connection))) continue;
      this.cutOff(connection, ADMINISTRATIVE_ACTION, 'banned'); // 0x8A is for CONNACK alone
    }
  }

  /** `closed` of the core: the handle is void after this. */
  closed(connection: ClientConnection, error: Error | undefined): void {
    const reason =
      error === undefined ? 'the connection was closed without DISCONNECT' : messageOf(error);
    this.#end(connection, { by: 'network', reasonCode: UNSPECIFIED_ERROR, reason });
    connection.state = 'gone';
    this.#byHandle.delete(connection.handle);
    const { transport, door } = connection;
    this.#context.options.gate?.closed(transport.remoteAddress, door.name);
    if (this.#byHandle.size === 0) this.#emptied?.();
  }

  /** The gate let this client in, and it is in no more. */
  left(connection: ClientConnection): void {
    const { options, clock } = this.#context;
    options.gate?.left(admitted(connection), clock.now());
  }

  /** The client said DISCONNECT. */
  disconnected(connection: ClientConnection, packet: DisconnectPacket): void {
    const { core } = this.#context;
    const { session } = connection;
    if (session !== undefined && packet.sessionExpiryInterval !== undefined) {
      if (session.expirySeconds === 0 && packet.sessionExpiryInterval > 0) {
        this.cutOff(
          connection,
          PROTOCOL_ERROR,
          'Session Expiry Interval was 0 and cannot be raised in DISCONNECT',
        );
        return;
      }
      session.expirySeconds = cappedExpiry(packet.sessionExpiryInterval, connection.door.mqtt);
    }
    const goodbye = connection.protocolVersion !== 5 || packet.reasonCode === SUCCESS;
    if (session !== undefined && goodbye) session.will = undefined; // [MQTT-3.14.4-3]
    core.closeAfterFlush(connection.handle);
    const reason =
      packet.reasonCode === DISCONNECT_WITH_WILL
        ? 'DISCONNECT with will'
        : (packet.reasonString ?? 'DISCONNECT');
    this.#end(connection, { by: 'client', reasonCode: packet.reasonCode, reason });
  }

  /** The core found the peer at fault and has told it so. */
  failed(connection: ClientConnection, reasonCode: number, detail: string): void {
    this.#context.core.closeAfterFlush(connection.handle);
    this.#end(connection, { by: 'broker', reasonCode, reason: detail });
  }

  /** DISCONNECT where the version has it; the session goes offline now. */
  cutOff(connection: ClientConnection, reasonCode: number, reason: string): void {
    if (connection.state === 'leaving' || connection.state === 'gone') return;
    const { core } = this.#context;
    if (connection.state !== 'connected') {
      // [MQTT-3.14.0-1]
      this.refuse(connection, SERVER_UNAVAILABLE, reason);
      return;
    }
    const fields = this.#fields(connection, reasonCode, reason);
    // Accepted, but its CONNACK still waits for the engine: then CONNACK says no [MQTT-3.14.0-1].
    if (core.sessionOf(connection.handle) === 0) {
      core.refuse(connection.handle, connackFailure(reasonCode), fields);
    } else {
      core.disconnect(connection.handle, reasonCode, fields);
    }
    this.#end(connection, { by: 'broker', reasonCode, reason });
  }

  /** CONNACK with a failure [MQTT-3.2.2-7]; nothing for a peer that has not sent CONNECT. */
  refuse(connection: ClientConnection, reasonCode: number, reason: string): void {
    if (connection.state === 'leaving' || connection.state === 'gone') return;
    const { core } = this.#context;
    if (connection.state === 'waiting') {
      core.destroy(connection.handle);
    } else {
      core.refuse(connection.handle, reasonCode, this.#fields(connection, reasonCode, reason));
    }
    this.#end(connection, { by: 'broker', reasonCode, reason });
  }

  /** Our own bug met this connection: it is closed, whatever its state. */
  abort(connection: ClientConnection): void {
    this.#context.core.destroy(connection.handle);
    const reason = 'the broker failed';
    this.#end(connection, { by: 'broker', reasonCode: UNSPECIFIED_ERROR, reason });
  }

  /** CONNECT was accepted: from now on Keep Alive holds instead of the connect timeout. */
  watch(connection: ClientConnection, now: number): void {
    const { wheel } = this.#context;
    if (connection.keepAliveSeconds === 0) wheel.cancel(connection);
    else wheel.set(connection, now + keepAliveMs(connection));
  }

  /** Connect timeout, or the time at which Keep Alive would pass if nothing had come since. */
  timerFired(connection: ClientConnection, now: number): void {
    if (connection.state === 'waiting' || connection.state === 'deciding') {
      this.refuse(connection, SERVER_UNAVAILABLE, 'connect timeout');
      return;
    }
    if (connection.state !== 'connected') return;
    const { core, wheel } = this.#context;
    const due = core.lastReceived(connection.handle, now) + keepAliveMs(connection);
    // 3.1.1 [MQTT-3.1.2-24], 5.0 [MQTT-3.1.2-22]
    if (due > now) wheel.set(connection, due);
    else this.cutOff(connection, KEEP_ALIVE_TIMEOUT, 'Keep Alive timeout');
  }

  identityExpired(expiry: IdentityExpiry): void {
    this.cutOff(expiry.connection, MAXIMUM_CONNECT_TIME, 'the authentication has expired');
  }

  /** Resolves when no connection is left. */
  whenEmpty(): Promise<void> {
    if (this.#byHandle.size === 0) return Promise.resolve();
    return new Promise((resolve) => {
      this.#emptied = resolve;
    });
  }

  #adopt(connection: ClientConnection, handle: ConnectionHandle): ClientConnection {
    this.#opening = undefined;
    connection.handle = handle;
    this.#byHandle.set(handle, connection);
    return connection;
  }

  /** Tells and logs the end of a connection, once, and sends its session offline. */
  #end(connection: ClientConnection, ending: Ending): void {
    const { state, session } = connection;
    if (state === 'leaving' || state === 'gone') return;
    const { core, wheel, counters } = this.#context;
    connection.state = 'leaving';
    connection.exchange = undefined;
    wheel.cancel(connection);
    if (connection.identityExpiry !== undefined) wheel.cancel(connection.identityExpiry);
    if (session !== undefined) {
      connection.session = undefined;
      session.connection = undefined;
      core.detach(session.handle);
    }
    if (state === 'connected') {
      counters.clientsConnected -= 1;
      this.left(connection);
      this.#tellDisconnected(connection, ending);
    } else {
      this.#tellRefused(connection, ending);
    }
    if (session !== undefined) this.#sessions.goOffline(session);
  }

  /**
   * What CONNACK or DISCONNECT says beside its Reason Code, if the client takes a packet so large.
   */
  #fields(connection: ClientConnection, reasonCode: number, reason: string): ReasonFields {
    const reference = serverReference(reasonCode, connection.door.mqtt);
    const bytes = Buffer.byteLength(reason) + Buffer.byteLength(reference ?? '');
    const room = connection.maximumPacketSize - BARE_PACKET_BYTES_MAX;
    // [MQTT-3.2.2-19] [MQTT-3.14.2-3]
    if (connection.maximumPacketSize > 0 && bytes > room) return {};
    return { reasonString: reason, serverReference: reference };
  }

  /** Closed before the core has seen it: a peer that nobody owes an answer. */
  #turnAway(transport: Transport, door: Door, reason: string): void {
    const { counters, log } = this.#context;
    counters.connectionsRefused += 1;
    log.warn('connection refused', { address: addressOf(transport), listener: door.name, reason });
    transport.destroy();
  }

  #tellDisconnected(connection: ClientConnection, ending: Ending): void {
    const { events, log } = this.#context;
    if (log.wantsInfo) {
      log.info('client disconnected', {
        client: connection.clientId,
        address: addressOf(connection.transport),
        user: connection.identity?.username,
        by: ending.by,
        code: hexCode(ending.reasonCode),
        reason: ending.reason,
      });
    }
    if (events.hears('clientDisconnected')) {
      events.tell('clientDisconnected', { ...describeClient(connection), ...ending });
    }
  }

  #tellRefused(connection: ClientConnection, ending: Ending): void {
    const { events, log, counters } = this.#context;
    const { clientId, transport, door } = connection;
    counters.connectionsRefused += 1;
    log.info('connection refused', {
      client: clientId,
      address: addressOf(transport),
      listener: door.name,
      code: hexCode(ending.reasonCode),
      reason: ending.reason,
    });
    if (!events.hears('connectionRefused')) return;
    events.tell('connectionRefused', {
      clientId,
      remoteAddress: transport.remoteAddress,
      remotePort: transport.remotePort,
      listener: door.name,
      reasonCode: ending.reasonCode,
      reason: ending.reason,
    });
  }
}

/** What the core holds clients of a door to. */
function coreLimits({ limits, mqtt }: Door): ConnectionLimits {
  return {
    packetBytesMax: limits.packetBytesMax,
    receiveMaximum: limits.receiveMaximum,
    topicLevelsMax: limits.topicLevelsMax,
    userPropertiesMax: limits.userPropertiesMax,
    unauthenticatedBytesMax: limits.unauthenticatedBytesMax,
    slabBytesMax: limits.slabBytesMax,
    slabWatermarkBytes: limits.slabWatermarkBytes,
    heldBytesMax: limits.heldBytesMax,
    maximumQos: mqtt.maximumQos,
    retainAvailable: mqtt.retainAvailable ? 'yes' : 'no',
    validatePayloadFormat: mqtt.validatePayloadFormat ? 'yes' : 'no',
  };
}

export function describeClient(connection: ClientConnection): ClientDescription {
  const { transport } = connection;
  return {
    ...named(connection),
    username: connection.identity?.username,
    protocolVersion: connection.protocolVersion,
    remoteAddress: transport.remoteAddress,
    remotePort: transport.remotePort,
    transport: transport.kind,
    listener: connection.door.name,
  };
}

/** As the gate knows it. */
export function admitted(connection: ClientConnection): AdmittedClient {
  const { clientId, identity, transport, door } = connection;
  const { remoteAddress } = transport;
  return { clientId, username: identity?.username, remoteAddress, listener: door.name };
}

export function addressOf(transport: Transport): string {
  return transport.remoteAddress === ''
    ? transport.kind
    : `${transport.remoteAddress}:${transport.remotePort}`;
}

function keepAliveMs(connection: ClientConnection): number {
  return connection.keepAliveSeconds * KEEP_ALIVE_GRACE * MS_PER_SECOND;
}
