/** From event rows to calls. Everything that a call needs is copied out of linear memory here. */
import {
  DELIVER_EXPIRY, DELIVER_FLAGS, DELIVER_IDENTIFIER, DELIVER_PAYLOAD_AT, DELIVER_PAYLOAD_LENGTH,
  DELIVER_PROPERTIES_AT, DELIVER_PROPERTIES_LENGTH, DELIVER_PUBLISHER, DELIVER_TOKEN,
  DELIVER_TOPIC_AT, DELIVER_TOPIC_LENGTH, DELIVER_TOPIC_SERIAL, EXPIRY_NONE, PAUSE_ON,
  ROW_AUTHORIZE, ROW_DELIVER, ROW_DROPPED, ROW_FAILED, ROW_HANDLE, ROW_KIND, ROW_INTERCEPT,
  ROW_NOTICE, ROW_PACKET, ROW_PAUSE, ROW_PUBLISHED, ROW_RECEIVE, ROW_RENUMBERED, ROW_WITHHELD,
  ROW_WORDS,
} from '../../assembly/shared/abi.js';
import {
  AUTH, CONNACK, CONNECT, DISCONNECT, SUBACK, SUBSCRIBE, UNSUBACK, UNSUBSCRIBE,
} from '../../assembly/shared/control-packet.js';
import { isUtf8 } from 'node:buffer';
import type {
  ConnectionHandle, CoreEvents, DeliverySink, ProtocolVersion, Qos, SessionHandle,
} from './contract.js';
import { ChunkCopy, TopicNames } from './copies.js';
import { HandlerDelivery, REPLACEMENT } from './delivery.js';
import type { DeliveryExtras } from './delivery.js';
import type { DurableSide } from './durable.js';
import type { CoreExports } from './instance.js';
import { DROP_REASONS } from './limits.js';
import {
  readAuth, readConnack, readConnect, readDisconnect, readReasonCodes, readSubscribe,
  readUnsubscribe,
} from './packet-reader.js';
import { viewOf } from './views.js';

/** What a FAILED row says, in words; the order is that of DETAIL_* in assembly/shared/abi.ts. */
const DETAILS = [
  'malformed packet', 'the first packet was not CONNECT', 'a second CONNECT',
  'the packet is larger than the limit',
  'this packet is not expected here', 'the Topic Alias is not valid',
  'more unacknowledged messages than Receive Maximum',
  'no receiver has room', 'out of memory', 'the QoS is not supported',
  'retained messages are not supported',
  'the topic has too many levels', 'the payload is not the UTF-8 that it claims to be',
  'unexpected acknowledgement',
  'this protocol version is not supported',
  'the topic is too long behind the mount point of its listener',
];

export interface RowTarget {
  setHeld(connection: ConnectionHandle, held: 'held' | 'free'): void;
}

/** `buffer.utf8Slice` is `toString('utf8')` without its looking at arguments. */
interface Utf8Slices {
  utf8Slice?(at: number, end: number): string;
}

export class RowReader {
  /** The row that is told next. */
  next = 0;
  /** Rows of the durable gate are its. */
  durable: DurableSide | undefined;
  /** Of the handler sessions, and that of the last message: many follow each other to the same. */
  private readonly sinks = new Map<SessionHandle, DeliverySink>();
  private latestSession: SessionHandle = 0;
  private latestSink: DeliverySink | undefined;
  private readonly topicNames: TopicNames;
  private readonly chunk: ChunkCopy;

  constructor(
    private readonly x: CoreExports,
    private readonly heap: Buffer,
    private readonly words: Uint32Array,
    private readonly events: CoreEvents,
    private readonly target: RowTarget,
  ) {
    this.topicNames = new TopicNames(heap);
    this.chunk = new ChunkCopy(heap);
  }

  addSink(session: SessionHandle, sink: DeliverySink): void {
    this.sinks.set(session, sink);
  }
  /** The session has ended: rows of it that were not told yet are nobody's. */
  dropSink(session: SessionHandle): void {
    this.sinks.delete(session);
    if (this.latestSession !== session) return;
    this.latestSession = 0;
    this.latestSink = undefined;
  }

  /** The chunk that the next rows point into. */
  arrived(at: number, length: number): void {
    this.chunk.arrived(at, length);
  }

  /**
   * Tells rows from `next` on, up to `end`: when what it calls throws, `next` is the row behind it.
   * One function does all that a delivery needs, because there is one for every message, and each
   * function of its own would be compiled once more, by itself and as a part of all its callers.
   */
  tellUntil(end: number): void {
    const { words, chunk } = this;
    while (this.next < end) {
      const row = this.next * ROW_WORDS;
      this.next += 1;
      const handle = words[row + ROW_HANDLE];
      if (words[row + ROW_KIND] !== ROW_DELIVER) {
        this.tellOther(row, handle);
        continue;
      }
      if (this.latestSession !== handle) {
        this.latestSession = handle;
        this.latestSink = this.sinks.get(handle);
      }
      const sink = this.latestSink;
      if (sink === undefined) continue;
      const at = words[row + DELIVER_PAYLOAD_AT];
      const length = words[row + DELIVER_PAYLOAD_LENGTH];
      const text = sink.reads === 'text' ? this.payloadText(at, length) : undefined;
      sink.deliver(new HandlerDelivery(
        this.topicNames.read(
          words[row + DELIVER_TOPIC_AT], words[row + DELIVER_TOPIC_LENGTH],
          words[row + DELIVER_TOPIC_SERIAL],
        ),
        text === undefined ? chunk.copy(at, length) : undefined,
        text,
        words[row + DELIVER_FLAGS],
        words[row + DELIVER_IDENTIFIER],
        words[row + DELIVER_PUBLISHER],
        words[row + DELIVER_TOKEN],
        words[row + DELIVER_PROPERTIES_LENGTH] === 0 && words[row + DELIVER_EXPIRY] === EXPIRY_NONE
          ? undefined : this.readExtras(row),
      ));
    }
  }

  private tellIntercept(row: number, handle: number): void {
    const { words, topicNames } = this;
    this.events.intercept?.(handle, new HandlerDelivery(
      topicNames.read(
        words[row + DELIVER_TOPIC_AT], words[row + DELIVER_TOPIC_LENGTH],
        words[row + DELIVER_TOPIC_SERIAL],
      ),
      this.chunk.copy(words[row + DELIVER_PAYLOAD_AT], words[row + DELIVER_PAYLOAD_LENGTH]),
      undefined,
      words[row + DELIVER_FLAGS],
      words[row + DELIVER_IDENTIFIER],
      words[row + DELIVER_PUBLISHER],
      words[row + DELIVER_TOKEN],
      this.readExtras(row),
    ));
  }

  private tellOther(row: number, handle: number): void {
    const { words } = this;
    switch (words[row + ROW_KIND]) {
      case ROW_INTERCEPT: this.tellIntercept(row, handle); break;
      case ROW_PUBLISHED: this.events.published(words[row + 2], words[row + 3]); break;
      case ROW_PACKET: case ROW_NOTICE: this.tellPacket(row, handle); break;
      case ROW_AUTHORIZE:
        this.events.authorizePublish(
          handle, this.text(words[row + 4], words[row + 5]), words[row + 2] as Qos,
          words[row + 3] === 1,
        );
        break;
      case ROW_RECEIVE:
        this.events.authorizeReceive?.(
          handle, this.text(words[row + 4], words[row + 5]), words[row + 2], words[row + 3],
        );
        break;
      case ROW_FAILED: this.events.failed(handle, words[row + 2], DETAILS[words[row + 3]]); break;
      case ROW_DROPPED:
        this.events.dropped(
          handle, this.text(words[row + 4], words[row + 5]), words[row + 3] as Qos,
          DROP_REASONS[words[row + 2]],
        );
        break;
      case ROW_RENUMBERED: this.topicNames.forgetSerials(); break;
      case ROW_WITHHELD: this.events.withheldTooLong(handle); break;
      case ROW_PAUSE:
        this.target.setHeld(handle, words[row + 2] === PAUSE_ON ? 'held' : 'free');
        break;
      default:
        if (this.durable?.tell(row)) break;
        throw new RangeError(`event row of unknown kind ${words[row + ROW_KIND]}`);
    }
  }

  private text(at: number, length: number): string {
    return this.heap.toString('utf8', at, at + length);
  }
  private readExtras(row: number): DeliveryExtras | undefined {
    const { words } = this;
    const length = words[row + DELIVER_PROPERTIES_LENGTH];
    const expirySeconds = words[row + DELIVER_EXPIRY];
    if (length === 0 && expirySeconds === EXPIRY_NONE) return undefined;
    return {
      encoded: length === 0
        ? undefined : this.chunk.copy(words[row + DELIVER_PROPERTIES_AT], length),
      expirySeconds,
    };
  }
  /** Undefined when it is not UTF-8. */
  private payloadText(at: number, length: number): string | undefined {
    const { heap } = this;
    const slices = heap as Utf8Slices;
    const text = slices.utf8Slice?.(at, at + length) ?? heap.toString('utf8', at, at + length);
    // Only a decoder's replacement character can hide broken bytes: the check is seldom needed.
    return !text.includes(REPLACEMENT) || isUtf8(viewOf(heap.buffer, at, length))
      ? text : undefined;
  }

  private tellPacket(row: number, connection: ConnectionHandle): void {
    const at = this.words[row + 3];
    const length = this.words[row + 4];
    const version = this.x.versionOf(connection) as ProtocolVersion;
    const { heap, events } = this;
    switch (this.words[row + 2] >> 4) {
      case CONNECT: events.connect(connection, readConnect(heap, at, length)); break;
      case SUBSCRIBE: events.subscribe(connection, readSubscribe(heap, at, length, version)); break;
      case UNSUBSCRIBE:
        events.unsubscribe(connection, readUnsubscribe(heap, at, length, version));
        break;
      case DISCONNECT:
        events.disconnect(connection, readDisconnect(heap, at, length, version));
        break;
      case AUTH: events.auth(connection, readAuth(heap, at, length)); break;
      case CONNACK: events.connack(connection, readConnack(heap, at, length, version)); break;
      case SUBACK: case UNSUBACK: this.tellCodes(row, connection, version); break;
      default: events.pingresp(connection);
    }
  }

  private tellCodes(row: number, connection: ConnectionHandle, version: ProtocolVersion): void {
    const answer = readReasonCodes(this.heap, this.words[row + 3], this.words[row + 4], version);
    const { packetIdentifier, reasonCodes, fields } = answer;
    if (this.words[row + 2] >> 4 === SUBACK) {
      this.events.suback(connection, packetIdentifier, reasonCodes, fields);
    } else {
      this.events.unsuback(connection, packetIdentifier, reasonCodes, fields);
    }
  }
}
