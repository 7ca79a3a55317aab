/**
 * Options of joining: the flat ones of Nest's stock MQTT transport, so that an application changes
 * one line.
 */
import type { ClientOptions } from '../../client/index.js';
import type { StockSubscribeOptions } from '../options.js';

/** Writes the envelope of a packet: Nest's serializers fit. */
export interface PacketSerializer {
  serialize(packet: never, options?: never): unknown;
}
/** Reads it: Nest's deserializers fit. */
export interface PacketDeserializer {
  deserialize(value: never, options?: never): unknown;
}

/** Options of the connection (those of `nidomq/client`, in MQTT.js's words), and Nest's. */
export interface JoinOptions extends ClientOptions {
  /** `mqtt://`, `mqtts://`, `ws://` or `wss://`. Default `mqtt://localhost:1883`. */
  readonly url?: string;
  /**
   * Attempts at the first connection, after which `listen` rejects. Default 10; -1 = try for ever,
   * which is what the stock transport does.
   */
  readonly maxConnectionAttempts?: number;
  /** Sent with every message of a client. */
  readonly userProperties?: Readonly<Record<string, string | string[]>>;
  readonly subscribeOptions?: StockSubscribeOptions;
  readonly serializer?: PacketSerializer;
  readonly deserializer?: PacketDeserializer;
  /** Name of a share group for all handlers. */
  readonly share?: string;
}
