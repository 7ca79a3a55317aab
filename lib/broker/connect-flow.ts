/**
 * From CONNECT to CONNACK:
 *
 *     rules -> who is it (authenticators, or AUTH packets) -> may it leave that will -> limits
 *           -> takeover -> clean start or resume -> accept
 *
 * Every step may wait for a hook. What comes back for a connection that has gone meanwhile is
 * ignored.
 */
import { randomUUID } from 'node:crypto';
import type { AuthPacket, ConnectPacket, WillMessage } from '../core/contract.js';
import type { Authentication, Decided } from './authentication.js';
import type { Authorization } from './authorization.js';
import {
  connackFields, connectRefusal, connectRequest, grantedExpiry, grantedKeepAlive,
} from './connect-rules.js';
import type { Connections } from './connections.js';
import { addressOf, admitted, describeClient } from './connections.js';
import type { BrokerContext } from './context.js';
import { reportProblem } from './context.js';
import { whenDecided } from './decision.js';
import type { ConnectRequest, EnhancedAuthenticator, EnhancedStep, Identity } from './hooks.js';
import { mountConnect, named } from './mount-point.js';
import {
  BAD_AUTHENTICATION_METHOD,
  CONTINUE_AUTHENTICATION,
  NOT_AUTHORIZED,
  PACKET_TOO_LARGE,
  PROTOCOL_ERROR,
  QUOTA_EXCEEDED,
  RE_AUTHENTICATE,
  SERVER_UNAVAILABLE,
  SESSION_TAKEN_OVER,
  SUCCESS,
  connackFailure,
  isDisconnectCode,
} from './reason-codes.js';
import { IdentityExpiry } from './records.js';
import type { ClientConnection, Session } from './records.js';
import type { ReceiveFlow } from './receive-flow.js';
import type { SessionRegistry } from './session-registry.js';

type Success = Extract<Decided, { ok: true }>;
const TOPIC_ALIASES_NONE = 0;
const RECEIVE_MAXIMUM_DEFAULT = 65_535;
const MS_PER_SECOND = 1_000;

export class ConnectFlow {
  /** New clients are refused while the broker closes. */
  closing = false;
  readonly #context: BrokerContext;
  readonly #connections: Connections;
  readonly #sessions: SessionRegistry;
  readonly #authentication: Authentication;
  readonly #authorization: Authorization;
  readonly #receive: ReceiveFlow;

  constructor(
    context: BrokerContext,
    parts: {
      readonly connections: Connections;
      readonly sessions: SessionRegistry;
      readonly authentication: Authentication;
      readonly authorization: Authorization;
      readonly receive: ReceiveFlow;
    },
  ) {
    this.#context = context;
    this.#connections = parts.connections;
    this.#sessions = parts.sessions;
    this.#authentication = parts.authentication;
    this.#authorization = parts.authorization;
    this.#receive = parts.receive;
  }

  connect(connection: ClientConnection, packet: ConnectPacket): void {
    connection.state = 'deciding';
    connection.protocolVersion = packet.protocolVersion;
    connection.isBridge = packet.fromBridge === true;
    connection.clientId = packet.clientIdentifier;
    connection.maximumPacketSize = packet.maximumPacketSize ?? 0;
    const refusal = connectRefusal(packet, connection.door);
    if (refusal !== undefined) {
      this.#connections.refuse(connection, refusal.reasonCode, refusal.reason);
      return;
    }
    const request = connectRequest(connection, packet);
    if (packet.authenticationMethod !== undefined) {
      this.#beginExchange(connection, packet, request);
      return;
    }
    whenDecided(
      this.#authentication.ask(request, connection.door),
      (result) => this.#authenticated(connection, packet, result),
      (error) => this.#broken(connection, error),
    );
  }

  /** An AUTH packet: the next step of an exchange, or the begin of a re-authentication. */
  auth(connection: ClientConnection, packet: AuthPacket): void {
    const { exchange } = connection;
    if (
      packet.authenticationMethod === undefined ||
      packet.authenticationMethod !== connection.authenticationMethod
    ) {
      this.#authFailed(
        connection,
        PROTOCOL_ERROR,
        'AUTH with another Authentication Method than CONNECT',
      );
      return;
    }
    if (exchange !== undefined && packet.reasonCode === CONTINUE_AUTHENTICATION) {
      this.#step(connection, packet.authenticationData);
      return;
    }
    if (
      exchange === undefined &&
      packet.reasonCode === RE_AUTHENTICATE &&
      connection.state === 'connected'
    ) {
      this.#reauthenticate(connection, packet.authenticationData);
      return;
    }
    this.#authFailed(
      connection,
      PROTOCOL_ERROR,
      'AUTH with a Reason Code that does not belong here',
    );
  }

  #beginExchange(
    connection: ClientConnection,
    packet: ConnectPacket,
    request: ConnectRequest,
  ): void {
    const method = packet.authenticationMethod!;
    const authenticator = this.#authentication.enhanced(method);
    if (authenticator === undefined) {
      // [MQTT-4.12.0-1]
      this.#connections.refuse(
        connection,
        BAD_AUTHENTICATION_METHOD,
        'this Authentication Method is not supported',
      );
      return;
    }
    connection.authenticationMethod = method;
    if (this.#begin(connection, authenticator, request, packet))
      this.#step(connection, packet.authenticationData);
  }

  #reauthenticate(connection: ClientConnection, data: Uint8Array | undefined): void {
    const authenticator = this.#authentication.enhanced(connection.authenticationMethod!)!;
    const { transport, door, clientId, identity, keepAliveSeconds, protocolVersion } = connection;
    const request: ConnectRequest = {
      clientId,
      username: identity?.username,
      protocolVersion,
      cleanStart: false,
      keepAliveSeconds,
      remoteAddress: transport.remoteAddress,
      remotePort: transport.remotePort,
      transport: transport.kind,
      identity: transport.identity,
      listener: door.name,
      userProperties: [],
    };
    if (this.#begin(connection, authenticator, request, undefined)) this.#step(connection, data);
  }

  #begin(
    connection: ClientConnection,
    authenticator: EnhancedAuthenticator,
    request: ConnectRequest,
    connect: ConnectPacket | undefined,
  ): boolean {
    try {
      connection.exchange = { authenticator, exchange: authenticator.begin(request), connect };
      return true;
    } catch (error) {
      this.#broken(connection, error);
      return false;
    }
  }

  #step(connection: ClientConnection, data: Uint8Array | undefined): void {
    const current = connection.exchange!;
    whenDecided(
      this.#authentication.step(current.exchange, data),
      (step) => {
        if (connection.exchange === current) this.#stepped(connection, step);
      },
      (error) => this.#broken(connection, error),
    );
  }

  #stepped(connection: ClientConnection, step: EnhancedStep): void {
    const { core } = this.#context;
    const { connect } = connection.exchange!;
    if (step.kind === 'continue') {
      this.#sendAuth(connection, CONTINUE_AUTHENTICATION, step.data);
      return;
    }
    connection.exchange = undefined;
    if (step.kind === 'failure') {
      this.#authFailed(
        connection,
        step.reasonCode ?? NOT_AUTHORIZED,
        step.reason ?? 'authentication failed',
      );
      return;
    }
    if (connect !== undefined) {
      this.#authenticated(connection, connect, step, step.data);
      return;
    }
    if (step.username !== undefined && step.username !== connection.identity?.username) {
      this.#authFailed(connection, NOT_AUTHORIZED, 're-authentication as somebody else');
      return;
    }
    this.#setIdentity(connection, step, connection.identity?.username);
    // Forgets what was decided about this client alone: nobody can make the broker ask about all.
    core.setPublishPolicy(connection.handle, this.#authorization.publishPolicy);
    if (connection.session !== undefined) this.#changeIdentity(connection.session, connection);
    if (this.#sendAuth(connection, SUCCESS, step.data)) core.reauthenticated(connection.handle);
  }

  /** False when the client has no room for it: then the authentication has failed. */
  #sendAuth(
    connection: ClientConnection,
    reasonCode: number,
    authenticationData: Uint8Array | undefined,
  ): boolean {
    const { handle, authenticationMethod, maximumPacketSize } = connection;
    const outcome = this.#context.core.sendAuth(
      handle, // [MQTT-4.12.0-2]
      { reasonCode, authenticationMethod, authenticationData, userProperties: [] },
      { maximumPacketSize },
    );
    if (outcome === 'sent') return true;
    this.#authFailed(connection, PACKET_TOO_LARGE, 'AUTH exceeds the Maximum Packet Size');
    return false;
  }

  /** Before CONNACK it is a refusal [MQTT-4.12.0-4], after it a DISCONNECT. */
  // [MQTT-4.12.1-2]: also when it was a re-authentication
  #authFailed(connection: ClientConnection, reasonCode: number, reason: string): void {
    if (connection.state === 'connected') {
      this.#connections.cutOff(
        connection,
        isDisconnectCode(reasonCode) ? reasonCode : NOT_AUTHORIZED,
        reason,
      );
    } else {
      this.#connections.refuse(connection, connackFailure(reasonCode), reason);
    }
  }

  #authenticated(
    connection: ClientConnection,
    packet: ConnectPacket,
    result: Decided,
    data?: Uint8Array,
  ): void {
    if (connection.state !== 'deciding') return;
    if (!result.ok) { // 5.0 [MQTT-3.1.4-2]
      this.#connections.refuse(
        connection,
        connackFailure(result.reasonCode ?? 0x86),
        result.reason ?? 'denied',
      );
      return;
    }
    // [MQTT-3.1.3-6]
    const assigned = packet.clientIdentifier === '' ? `nido-${randomUUID()}` : undefined;
    if (assigned !== undefined) connection.clientId = assigned; // [MQTT-3.2.2-16]
    const mount = mountConnect(connection, packet, result.username ?? packet.username);
    if ('refused' in mount) {
      this.#connections.refuse(connection, NOT_AUTHORIZED, mount.refused);
      return;
    }
    connection.mountPoint = mount.mountPoint;
    this.#setIdentity(connection, result, packet.username);
    const { will } = mount;
    const admission = { packet, will, assigned, data, endsStored: false };
    if (will === undefined) {
      this.#admit(connection, admission);
      return;
    }
    whenDecided(
      this.#authorization.canPublish(connection.identity!, will.topicName, will),
      (granted) => {
        if (granted) this.#admit(connection, admission);
        else
          this.#connections.refuse(
            connection,
            NOT_AUTHORIZED,
            'the will may not be published to its topic',
          );
      },
      (error) => this.#broken(connection, error),
    );
  }

  #setIdentity(connection: ClientConnection, result: Success, username: string | undefined): void {
    const { wheel, clock } = this.#context;
    const identity: Identity = {
      ...named(connection),
      username: result.username ?? username,
      roles: result.roles,
      claims: result.claims,
    };
    connection.identity = Object.freeze(identity);
    connection.stillHolds = result.stillHolds;
    if (connection.identityExpiry !== undefined) wheel.cancel(connection.identityExpiry);
    connection.identityExpiry = undefined;
    if (result.expiresAt === undefined) return;
    connection.identityExpiry = new IdentityExpiry(connection);
    wheel.set(connection.identityExpiry, clock.now() + (result.expiresAt - clock.wall()));
  }

  #admit(connection: ClientConnection, admission: Admission): void {
    if (connection.state !== 'deciding') return;
    const existing = this.#sessions.get(connection);
    const refusal = this.#admissionRefusal(connection, admission.packet, existing);
    if (refusal !== undefined) {
      this.#connections.refuse(connection, refusal.reasonCode, refusal.reason);
      return;
    }
    if (existing?.connection !== undefined) {
      // 3.1.1 [MQTT-3.1.4-2], 5.0 [MQTT-3.1.4-3]
      this.#connections.cutOff(
        existing.connection,
        SESSION_TAKEN_OVER,
        'the session was taken over',
      );
    }
    // Taking over may have ended the session: its expiry was 0, and its connection has just closed.
    const kept = this.#sessions.get(connection);
    const endsStored = admission.packet.cleanStart && (kept?.storeId ?? 0) !== 0;
    // 3.1.1 [MQTT-3.1.2-6] [MQTT-3.1.4-3], 5.0 [MQTT-3.1.2-4] [MQTT-3.1.4-4]
    if (kept !== undefined && admission.packet.cleanStart) this.#sessions.end(kept, 'clean-start');
    else if (kept !== undefined) this.#sessions.resume(kept); // 5.0 [MQTT-3.1.2-5]
    this.#accept(connection, { ...admission, endsStored }, this.#sessions.get(connection));
  }

  #admissionRefusal(
    connection: ClientConnection,
    packet: ConnectPacket,
    existing: Session | undefined,
  ): { reasonCode: number; reason: string } | undefined {
    const { limits, gate } = this.#context.options;
    const { clock, store } = this.#context;
    if (this.closing) {
      return { reasonCode: SERVER_UNAVAILABLE, reason: 'the broker is shutting down' };
    }
    const { mqtt } = connection.door;
    const isStored = grantedExpiry(packet, mqtt) !== 0 || (existing?.storeId ?? 0) !== 0;
    if (isStored && store.isFull()) {
      return { reasonCode: SERVER_UNAVAILABLE, reason: 'the disk is too far behind' };
    }
    if (existing === undefined && this.#sessions.size >= limits.sessionsMax) {
      return { reasonCode: QUOTA_EXCEEDED, reason: 'limits.sessionsMax is reached' };
    }
    if (mqtt.sessionOfAnotherUser === 'refuse' && this.#isForeign(connection, existing)) {
      const reason = 'the Client Identifier belongs to a session of another user';
      return { reasonCode: NOT_AUTHORIZED, reason };
    }
    // Last: whom the gate admits has entered, and must be reported when it leaves.
    const answer = gate?.enter(admitted(connection), clock.now(), clock.wall());
    return answer?.kind === 'refuse'
      ? { reasonCode: connackFailure(answer.reasonCode), reason: answer.reason }
      : undefined;
  }

  /** User names mean something only where they were proved. */
  #isForeign(connection: ClientConnection, existing: Session | undefined): boolean {
    if (existing === undefined || !this.#authentication.isInUse) return false;
    return existing.identity.username !== connection.identity?.username;
  }

  #accept(connection: ClientConnection, admission: Admission, resumed: Session | undefined): void {
    const { clock, counters } = this.#context;
    const { mqtt } = connection.door;
    const { packet, will } = admission;
    const session = resumed ?? this.#sessions.create(connection, connection.identity!);
    this.#changeIdentity(session, connection);
    session.connection = connection;
    session.will = will; // 3.1.1 [MQTT-3.1.2-8], 5.0 [MQTT-3.1.2-7]
    session.expirySeconds = grantedExpiry(packet, mqtt);
    session.protocolVersion = connection.protocolVersion;
    connection.session = session;
    connection.keepAliveSeconds = grantedKeepAlive(packet, mqtt);
    this.#tellConnected(connection, resumed !== undefined);
    // Whoever was told may have thrown the client out at once: then it gets no CONNACK 0 any more.
    if (connection.state !== 'deciding') {
      this.#connections.left(connection);
      return;
    }
    connection.state = 'connected';
    counters.clientsConnected += 1;
    counters.clientsMaximum = Math.max(counters.clientsMaximum, counters.clientsConnected);
    this.#connections.watch(connection, clock.now());
    const { store } = this.#context;
    store.connected(session);
    // CONNACK promises that the session is there, and that one that was discarded is not.
    const accept = (): void => {
      if (connection.state === 'connected' && connection.session === session) {
        this.#open(connection, session, admission, resumed === undefined ? 'new' : 'resumed');
      }
    };
    if (admission.endsStored) store.afterAll(accept);
    else store.after(session, accept);
  }

  #changeIdentity(session: Session, connection: ClientConnection): void {
    const before = session.identity;
    session.identity = connection.identity!;
    this.#receive.identityChanged(session, before);
  }

  #open(
    connection: ClientConnection, session: Session, admission: Admission,
    found: 'new' | 'resumed',
  ): void {
    const { core } = this.#context;
    const { packet, assigned, data } = admission;
    this.#receive.connected(session, found);
    core.accept(connection.handle, session.handle, {
      keepAliveMs: connection.keepAliveSeconds * MS_PER_SECOND,
      receiveMaximum: Math.min(
        packet.receiveMaximum ?? RECEIVE_MAXIMUM_DEFAULT,
        connection.door.limits.inflightMax,
      ),
      maximumPacketSize: packet.maximumPacketSize ?? 0,
      topicAliasMaximum: Math.min(
        packet.topicAliasMaximum ?? TOPIC_ALIASES_NONE,
        connection.door.limits.topicAliasMaximum,
      ),
      publishPolicy: this.#authorization.publishPolicy,
      connack: connackFields(
        packet,
        {
          sessionPresent: found === 'resumed',
          expirySeconds: session.expirySeconds,
          keepAliveSeconds: connection.keepAliveSeconds,
          assignedClientId: assigned,
          authenticationData: data,
        },
        connection.door,
      ),
    });
    this.#context.store.opened(session);
  }

  #tellConnected(connection: ClientConnection, sessionPresent: SessionPresent): void {
    const { log, events } = this.#context;
    if (log.wantsInfo) {
      log.info('client connected', {
        client: connection.clientId,
        mountPoint: named(connection).mountPoint,
        address: addressOf(connection.transport),
        user: connection.identity?.username,
        listener: connection.door.name,
        version: connection.protocolVersion,
        keepAlive: connection.keepAliveSeconds,
        session: sessionPresent ? 'resumed' : 'new',
      });
    }
    if (!events.hears('clientConnected')) return;
    const { keepAliveSeconds } = connection;
    events.tell('clientConnected', {
      ...describeClient(connection),
      sessionPresent,
      keepAliveSeconds,
    });
  }

  #broken(connection: ClientConnection, error: unknown): void {
    reportProblem(this.#context, 'connect', error);
    this.#authFailed(connection, SERVER_UNAVAILABLE, 'the broker failed');
  }
}

/** A CONNECT that has come through authentication. */
interface Admission {
  readonly packet: ConnectPacket;
  /** By the broker's names. */
  readonly will: WillMessage | undefined;
  readonly assigned: string | undefined;
  readonly data: Uint8Array | undefined;
  /** A stored session of this client was ended: the client is told once that is durable. */
  readonly endsStored: boolean;
}
/** The flag of CONNACK. */
type SessionPresent = boolean;
