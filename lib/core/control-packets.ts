/** Control packets of both roles: what the control plane answers and asks. The core frames them. */
import {
  POLICY_ALLOW, POLICY_ASK, POLICY_DENY, ROLE_CLIENT, ROLE_SERVER,
} from '../../assembly/shared/abi.js';
import {
  AUTH, CONNACK, CONNECT, DISCONNECT, PINGREQ, SUBACK, SUBSCRIBE, UNSUBACK, UNSUBSCRIBE,
} from '../../assembly/shared/control-packet.js';
import type { Transport } from '../listener/transport.js';
import type {
  AcceptOptions, AuthPacket, ConnackFields, ConnectionHandle, ConnectionLimits, ConnectPacket,
  LimitsHandle, OpenOptions, ProtocolVersion, ReasonFields, SessionHandle, SubscriptionRequest,
  UserProperties,
} from './contract.js';
import {
  authBody, codesBody, connackBody, connectBody, disconnectBody, subscribeBody, unsubscribeBody,
} from './packet-writer.js';
import { CoreRuntime } from './core-runtime.js';
import { CoreError } from './errors.js';
import { ownLimits } from './limits.js';

const POLICIES = { allow: POLICY_ALLOW, deny: POLICY_DENY, ask: POLICY_ASK } as const;

/** How long a Remaining Length is. */
function lengthBytes(remaining: number): number {
  return remaining < 0x80 ? 1 : remaining < 0x4000 ? 2 : remaining < 0x20_0000 ? 3 : 4;
}

/** How long the packet with this body is. */
function packetBytes(body: Buffer): number {
  return 1 + lengthBytes(body.length) + body.length;
}

interface RequestOptions {
  readonly userProperties?: UserProperties;
  /** Of the server; it may not be known to the core yet. 0 = none. */
  readonly maximumPacketSize?: number;
}

export abstract class ControlPackets extends CoreRuntime {
  createLimits(limits: ConnectionLimits): LimitsHandle {
    const table = ownLimits(this.x, limits);
    if (table !== 0) return table;
    throw new CoreError('NIDO_CORE_MEMORY', 'no memory for the limits of a listener');
  }

  open(transport: Transport, now = this.now(), options: OpenOptions = {}): ConnectionHandle {
    const handle = this.x.openConnection(ROLE_SERVER, 0, now) >>> 0;
    if (options.limits !== undefined) this.x.useLimits(handle, options.limits);
    return this.bind(transport, handle, options.pace);
  }

  /** Client role: binds a Transport to a connection that starts with CONNECT. */
  openUplink(transport: Transport, packet: ConnectPacket): ConnectionHandle {
    const handle = this.x.openConnection(ROLE_CLIENT, packet.protocolVersion, this.now()) >>> 0;
    this.bind(transport, handle);
    this.send(handle, (CONNECT << 4), connectBody(packet));
    return handle;
  }

  private versionOf(connection: ConnectionHandle): ProtocolVersion {
    return this.x.versionOf(connection) as ProtocolVersion;
  }

  /**
   * Appends a packet to the slab. One that is larger than the peer takes is discarded
   * [MQTT-3.1.2-24]. A connection that cannot even be answered, or greeted, is closed.
   */
  private send(connection: ConnectionHandle, firstByte: number, body: Buffer): void {
    if (this.failure !== undefined || this.portOf(connection) === undefined) return;
    if (this.isTooLarge(connection, body)) {
      if (firstByte === CONNACK << 4) this.destroy(connection);
      return;
    }
    const at = this.x.beginPacket(connection, firstByte, body.length) >>> 0;
    if (at === 0) this.destroy(connection);
    else this.heap.set(body, at);
    this.afterwards();
  }

  accept(connection: ConnectionHandle, session: SessionHandle, options: AcceptOptions): void {
    const version = this.versionOf(connection);
    if (this.portOf(connection) === undefined) return;
    const announced = options.connack.topicAliasMaximum ?? this.options.topicAliasMaximum;
    const aliasIn = version === 5 ? announced : 0;
    const taken = this.x.acceptConnection(
      connection, session, options.receiveMaximum, options.maximumPacketSize,
      options.topicAliasMaximum, aliasIn, POLICIES[options.publishPolicy],
    );
    if (!taken) return;
    // [MQTT-3.2.0-1] 3.1.1 [MQTT-3.1.4-4], 5.0 [MQTT-3.1.4-5] [MQTT-3.2.0-2]: first, and once
    const body = this.fitting(connection, options.connack, (said) => connackBody(said, version));
    this.send(connection, CONNACK << 4, body);
    this.x.pumpSession(session);
    this.answered(connection);
  }

  /** Client role: the server has accepted. What the session has for the server goes out. */
  acceptUplink(
    connection: ConnectionHandle, session: SessionHandle,
    options: Omit<AcceptOptions, 'connack' | 'keepAliveMs'>,
  ): void {
    const taken = this.x.acceptConnection(
      connection, session, options.receiveMaximum, options.maximumPacketSize,
      options.topicAliasMaximum,
      this.versionOf(connection) === 5 ? this.options.topicAliasMaximum : 0, POLICY_ALLOW,
    );
    if (!taken) return;
    this.x.pumpSession(session);
    this.answered(connection);
  }

  refuse(connection: ConnectionHandle, reasonCode: number, fields: ReasonFields = {}): void {
    const version = this.versionOf(connection);
    if (this.portOf(connection) === undefined) return;
    const connack: ConnackFields = { reasonCode, sessionPresent: false, ...fields };
    const body = this.fitting(connection, connack, (said) => connackBody(said, version));
    this.send(connection, CONNACK << 4, body);
    this.closeAfterFlush(connection); // 3.1.1 [MQTT-3.2.2-5]
  }

  /**
   * What explains a packet (Reason String, User Properties) is left out when the peer's Maximum
   * Packet Size has no room for it. [MQTT-3.2.2-19] [MQTT-3.2.2-20] [MQTT-3.9.2-1] [MQTT-3.9.2-2]
   * [MQTT-3.11.2-1] [MQTT-3.11.2-2] [MQTT-3.14.2-3] [MQTT-3.14.2-4] [MQTT-3.15.2-2] [MQTT-3.15.2-3]
   */
  private fitting<T extends ReasonFields>(
    connection: ConnectionHandle, fields: T, build: (said: T) => Buffer,
  ): Buffer {
    const body = build(fields);
    if (!this.isTooLarge(connection, body)) return body;
    return build({ ...fields, reasonString: undefined, userProperties: undefined });
  }

  /** For the Maximum Packet Size of the peer. */
  private isTooLarge(connection: ConnectionHandle, body: Buffer): boolean {
    const maximum = this.x.maximumPacketSizeOf(connection) >>> 0;
    return maximum !== 0 && packetBytes(body) > maximum;
  }

  disconnect(connection: ConnectionHandle, reasonCode: number, fields?: ReasonFields): void {
    if (this.versionOf(connection) === 5) {
      const body = this.fitting(connection, fields ?? {}, (said) => {
        return disconnectBody(reasonCode, said);
      });
      this.send(connection, DISCONNECT << 4, body);
    }
    this.closeAfterFlush(connection); // 5.0 [MQTT-3.14.4-1] [MQTT-3.14.4-2]
  }

  /** Client role: the goodbye of either version. */
  sayGoodbye(connection: ConnectionHandle, reasonCode: number, fields?: ReasonFields): void {
    const plain = this.versionOf(connection) < 5 || (reasonCode === 0 && fields === undefined);
    const body = plain ? Buffer.alloc(0) : disconnectBody(reasonCode, fields);
    this.send(connection, DISCONNECT << 4, body);
    this.closeAfterFlush(connection); // [MQTT-3.14.4-1] [MQTT-3.14.4-2]
  }

  /** Nothing larger than the peer takes is sent. 5.0 [MQTT-3.1.2-24] [MQTT-3.2.2-15] */
  sendAuth(
    connection: ConnectionHandle, packet: AuthPacket, options?: RequestOptions,
  ): 'sent' | 'too-large' {
    const body = this.fitting<ReasonFields>(connection, packet, (said) => {
      const { reasonString, userProperties = [] } = said;
      return authBody({ ...packet, reasonString, userProperties });
    });
    const outcome = this.sendRequest(connection, AUTH << 4, body, options);
    if (outcome === 'sent') this.answered(connection);
    return outcome;
  }
  reauthenticated(connection: ConnectionHandle): void {
    this.answered(connection);
  }

  answerSubscribe(
    connection: ConnectionHandle, packetIdentifier: number, reasonCodes: readonly number[],
    fields?: ReasonFields,
  ): void {
    const version = this.versionOf(connection);
    if (this.portOf(connection) === undefined) return;
    // Acknowledgements of the core carry no explanations at all: 5.0 [MQTT-3.1.2-29].
    // 3.1.1 [MQTT-2.3.1-7] [MQTT-3.8.4-4] [MQTT-3.8.4-6], 5.0 [MQTT-2.2.1-6] [MQTT-3.8.4-6]: the
    // identifier of the request, one code for each filter.
    const body = this.fitting(connection, fields ?? {}, (said) => {
      return codesBody(packetIdentifier, reasonCodes, version, said);
    });
    this.send(connection, SUBACK << 4, body);
    this.answered(connection);
  }
  answerUnsubscribe(
    connection: ConnectionHandle, packetIdentifier: number, reasonCodes: readonly number[],
    fields?: ReasonFields,
  ): void {
    const version = this.versionOf(connection);
    if (this.portOf(connection) === undefined) return;
    const codes = version === 5 ? reasonCodes : [];
    // [MQTT-3.10.4-5] [MQTT-3.10.4-6] [MQTT-3.11.3-1]: one answer, also when nothing was deleted.
    const body = this.fitting(connection, fields ?? {}, (said) => {
      return codesBody(packetIdentifier, codes, version, said);
    });
    this.send(connection, UNSUBACK << 4, body);
    this.answered(connection);
  }

  sendSubscribe(
    connection: ConnectionHandle, packetIdentifier: number,
    subscriptions: readonly SubscriptionRequest[],
    options?: RequestOptions & { readonly subscriptionIdentifier?: number },
  ): 'sent' | 'too-large' {
    const version = this.versionOf(connection);
    const body = subscribeBody(packetIdentifier, subscriptions, version, options);
    return this.sendRequest(connection, (SUBSCRIBE << 4) | 2, body, options);
  }
  /** Nothing larger than the server takes is sent. [MQTT-3.2.2-15] */
  private sendRequest(
    connection: ConnectionHandle, firstByte: number, body: Buffer, options: RequestOptions = {},
  ): 'sent' | 'too-large' {
    const maximum = options.maximumPacketSize ?? 0;
    if (maximum !== 0 && packetBytes(body) > maximum) return 'too-large';
    this.send(connection, firstByte, body);
    return 'sent';
  }
  sendUnsubscribe(
    connection: ConnectionHandle, packetIdentifier: number, topicFilters: readonly string[],
    options?: RequestOptions,
  ): 'sent' | 'too-large' {
    const version = this.versionOf(connection);
    const body = unsubscribeBody(packetIdentifier, topicFilters, version, options?.userProperties);
    return this.sendRequest(connection, (UNSUBSCRIBE << 4) | 2, body, options);
  }
  sendPingreq(connection: ConnectionHandle): void {
    this.send(connection, PINGREQ << 4, Buffer.alloc(0));
  }

  answerPublish(
    connection: ConnectionHandle, reasonCode: number, options?: { readonly cache: 'yes' | 'no' },
  ): void {
    this.x.answerPublish(connection, reasonCode, options?.cache === 'no' ? 0 : 1);
    this.answered(connection);
  }
  setPublishPolicy(connection: ConnectionHandle, policy: 'allow' | 'deny' | 'ask'): void {
    this.x.setPolicy(connection, POLICIES[policy]);
  }
  setReceivePolicy(session: SessionHandle, policy: 'allow' | 'ask'): void {
    this.x.setReceivePolicy(session, POLICIES[policy]);
  }
  answerReceive(
    session: SessionHandle, asked: { readonly serial: number; readonly rules: number },
    verdict: 'allowed' | 'denied',
  ): void {
    const isAllowed = verdict === 'allowed' ? 1 : 0;
    this.x.answerReceive(session, asked.serial, asked.rules, isAllowed, this.now());
    this.afterwards();
    if (!this.flushScheduled) this.scheduleFlush(); // a replay may have waited for this
  }
  invalidateVerdicts(): void {
    this.x.invalidateVerdicts();
  }
}
