/** What CONNECT may say: the rules that need no hook and no state. */
import type { ConnackFields, ConnectPacket } from '../core/contract.js';
import type { LimitSettings, MqttSettings } from './broker-options.js';
import type { ConnectRequest } from './hooks.js';
import {
  CLIENT_IDENTIFIER_NOT_VALID,
  QOS_NOT_SUPPORTED,
  RETAIN_NOT_SUPPORTED,
  SERVER_MOVED,
  USE_ANOTHER_SERVER,
} from './reason-codes.js';
import { EXPIRES_NEVER } from './records.js';
import type { ClientConnection, Door } from './records.js';

/** What holds at the door that a client came through. */
type DoorRules = Pick<Door, 'limits' | 'mqtt'>;

export interface Refusal {
  readonly reasonCode: number;
  readonly reason: string;
}

const V3_CLIENT_ID_CHARACTERS_MAX = 23;
const KEEP_ALIVE_SECONDS_MAX = 65_535;

export function connectRefusal(
  packet: ConnectPacket,
  options: DoorRules,
): Refusal | undefined {
  return clientIdRefusal(packet, options.limits) ?? willRefusal(packet, options.mqtt);
}

function clientIdRefusal(packet: ConnectPacket, limits: LimitSettings): Refusal | undefined {
  const { clientIdentifier, protocolVersion } = packet;
  const characters = [...clientIdentifier].length;
  if (protocolVersion === 3 && (characters === 0 || characters > V3_CLIENT_ID_CHARACTERS_MAX)) {
    // every other identifier is taken [MQTT-3.1.3-5]
    return invalidId('MQTT 3.1 wants a Client Identifier of 1 to 23 characters');
  }
  if (protocolVersion === 4 && characters === 0 && !packet.cleanStart) {
    // 3.1.1 [MQTT-3.1.3-8]
    return invalidId('an empty Client Identifier needs clean session 1');
  }
  if (Buffer.byteLength(clientIdentifier) > limits.clientIdBytesMax) {
    return invalidId(`the Client Identifier is longer than ${limits.clientIdBytesMax} bytes`);
  }
  return undefined;
}

function invalidId(reason: string): Refusal {
  // 3.1.1 [MQTT-3.1.3-9], 5.0 [MQTT-3.1.3-8]
  return { reasonCode: CLIENT_IDENTIFIER_NOT_VALID, reason };
}

function willRefusal(packet: ConnectPacket, mqtt: MqttSettings): Refusal | undefined {
  const { will } = packet;
  if (will === undefined) return undefined;
  if (will.qos > mqtt.maximumQos) {
    // [MQTT-3.2.2-12]
    return { reasonCode: QOS_NOT_SUPPORTED, reason: `a will of QoS ${will.qos} is not supported` };
  }
  if (will.retain && !mqtt.retainAvailable) {
    // [MQTT-3.2.2-13]
    return { reasonCode: RETAIN_NOT_SUPPORTED, reason: 'a retained will is not supported' };
  }
  return undefined;
}

/** The Session Expiry Interval that we grant, in seconds. */
export function grantedExpiry(packet: ConnectPacket, mqtt: MqttSettings): number {
  if (packet.protocolVersion === 5) return cappedExpiry(packet.sessionExpiryInterval ?? 0, mqtt);
  // 3.1.1 [MQTT-3.1.2-4] [MQTT-3.1.2-6]
  return packet.cleanStart ? 0 : mqtt.sessionExpirySecondsMaxV3;
}

export function cappedExpiry(seconds: number, mqtt: MqttSettings): number {
  return Math.min(seconds, mqtt.sessionExpirySecondsMax, EXPIRES_NEVER);
}

/** The Keep Alive that holds, in seconds; only MQTT 5 can be told another one than it asked for. */
export function grantedKeepAlive(packet: ConnectPacket, mqtt: MqttSettings): number {
  if (packet.protocolVersion !== 5) return packet.keepAliveSeconds;
  if (mqtt.serverKeepAliveSeconds > 0) return mqtt.serverKeepAliveSeconds;
  // [MQTT-3.2.2-22]
  if (mqtt.keepAliveSecondsMax === KEEP_ALIVE_SECONDS_MAX) return packet.keepAliveSeconds;
  if (packet.keepAliveSeconds === 0) return mqtt.keepAliveSecondsMax;
  return Math.min(packet.keepAliveSeconds, mqtt.keepAliveSecondsMax);
}

export interface Granted {
  readonly sessionPresent: boolean;
  readonly expirySeconds: number;
  readonly keepAliveSeconds: number;
  readonly assignedClientId?: string;
  readonly authenticationData?: Uint8Array;
}

/** What CONNACK tells: only what differs from what the client would assume. */
export function connackFields(
  packet: ConnectPacket,
  granted: Granted,
  options: DoorRules,
): ConnackFields {
  const { mqtt, limits } = options;
  const sessionPresent = granted.sessionPresent && packet.protocolVersion !== 3;
  // 3.1.1 [MQTT-3.2.2-1] [MQTT-3.2.2-2] [MQTT-3.2.2-3]
  if (packet.protocolVersion !== 5) return { reasonCode: 0, sessionPresent };
  const asked = packet.sessionExpiryInterval ?? 0;
  const responseInformation =
    packet.requestResponseInformation && mqtt.responseInformation !== ''
      ? mqtt.responseInformation
      : undefined; // [MQTT-3.1.2-28]
  return {
    reasonCode: 0,
    sessionPresent, // 5.0 [MQTT-3.2.2-2] [MQTT-3.2.2-3]
    sessionExpiryInterval: granted.expirySeconds === asked ? undefined : granted.expirySeconds,
    receiveMaximum: limits.receiveMaximum,
    maximumQos: mqtt.maximumQos === 2 ? undefined : mqtt.maximumQos, // [MQTT-3.2.2-9]
    retainAvailable: mqtt.retainAvailable ? undefined : false,
    maximumPacketSize: limits.packetBytesMax,
    assignedClientIdentifier: granted.assignedClientId, // 5.0 [MQTT-3.1.3-7]
    topicAliasMaximum: limits.topicAliasMaximum,
    wildcardSubscriptionAvailable: mqtt.wildcardSubscriptionAvailable ? undefined : false,
    subscriptionIdentifiersAvailable: mqtt.subscriptionIdentifiersAvailable ? undefined : false,
    sharedSubscriptionAvailable: mqtt.sharedSubscriptionAvailable ? undefined : false,
    serverKeepAlive:
      granted.keepAliveSeconds === packet.keepAliveSeconds ? undefined : granted.keepAliveSeconds,
    responseInformation,
    authenticationMethod: packet.authenticationMethod, // [MQTT-4.12.0-6]
    authenticationData: granted.authenticationData,
  };
}

/** Server Reference belongs to two Reason Codes only. */
export function serverReference(reasonCode: number, mqtt: MqttSettings): string | undefined {
  const moved = reasonCode === USE_ANOTHER_SERVER || reasonCode === SERVER_MOVED;
  return moved && mqtt.serverReference !== '' ? mqtt.serverReference : undefined;
}

/** What authenticators see. */
export function connectRequest(
  connection: ClientConnection,
  packet: ConnectPacket,
): ConnectRequest {
  const { transport, door } = connection;
  return {
    clientId: packet.clientIdentifier,
    username: packet.username,
    password: packet.password,
    protocolVersion: packet.protocolVersion,
    cleanStart: packet.cleanStart,
    keepAliveSeconds: packet.keepAliveSeconds,
    remoteAddress: transport.remoteAddress,
    remotePort: transport.remotePort,
    transport: transport.kind,
    identity: transport.identity,
    listener: door.name,
    userProperties: packet.userProperties,
  };
}
