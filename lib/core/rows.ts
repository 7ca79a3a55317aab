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
import type { ConnectionHandle, CoreEvents, ProtocolVersion, Qos } from './contract.js';
import { ChunkCopy, TopicNames } from './copies.js';
import { HandlerDelivery } from './delivery.js';
import type { DeliveryExtras, PayloadSource } from './delivery.js';
import type { DurableSide } from './durable.js';
import type { CoreExports } from './instance.js';
import { DROP_REASONS } from './limits.js';
import {
  readAuth, readConnack, readConnect, readDisconnect, readReasonCodes, readSubscribe,
  readUnsubscribe,
} from './packet-reader.js';

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

export class RowReader implements PayloadSource {
  /** The row that is told next. */
  next = 0;
  /** Rows of the durable gate are its. */
  durable: DurableSide | undefined;
  private readonly topicNames: TopicNames;
  private readonly chunk: ChunkCopy;
  /** Of the delivery that is being told. */
  private payloadAt = 0;
  private payloadLength = 0;

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

  /** The chunk that the next rows point into. */
  arrived(at: number, length: number): void {
    this.chunk.arrived(at, length);
  }

  /**
   * Tells rows from `next` on, up to `end`. One function does all that a delivery needs, because
   * there is one for every message, and each function of its own would be compiled once more: when
   * what it calls throws, `next` is the row behind it.
   */
  tellUntil(end: number): void {
    const { words, events } = this;
    while (this.next < end) {
      const row = this.next * ROW_WORDS;
      this.next += 1;
      const kind = words[row + ROW_KIND];
      if (kind !== ROW_DELIVER && kind !== ROW_INTERCEPT) {
        this.tellOther(row, words[row + ROW_HANDLE]);
        continue;
      }
      this.payloadAt = words[row + DELIVER_PAYLOAD_AT];
      this.payloadLength = words[row + DELIVER_PAYLOAD_LENGTH];
      const hasExtras = words[row + DELIVER_PROPERTIES_LENGTH] !== 0
        || words[row + DELIVER_EXPIRY] !== EXPIRY_NONE;
      const delivery = new HandlerDelivery(
        this.topicNames.read(
          words[row + DELIVER_TOPIC_AT], words[row + DELIVER_TOPIC_LENGTH],
          words[row + DELIVER_TOPIC_SERIAL],
        ),
        this,
        words[row + DELIVER_FLAGS],
        words[row + DELIVER_IDENTIFIER],
        words[row + DELIVER_PUBLISHER],
        words[row + DELIVER_TOKEN],
        hasExtras ? this.readExtras(row) : undefined,
      );
      try {
        if (kind === ROW_DELIVER) events.deliver(words[row + ROW_HANDLE], delivery);
        else events.intercept?.(words[row + ROW_HANDLE], delivery);
      } finally {
        delivery.leaveRow();
      }
    }
  }

  private tellOther(row: number, handle: number): void {
    const { words } = this;
    switch (words[row + ROW_KIND]) {
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
  private readExtras(row: number): DeliveryExtras {
    const { words } = this;
    const length = words[row + DELIVER_PROPERTIES_LENGTH];
    return {
      encoded: length === 0
        ? undefined : this.chunk.copy(words[row + DELIVER_PROPERTIES_AT], length),
      expirySeconds: words[row + DELIVER_EXPIRY],
    };
  }
  payloadText(): string {
    const end = this.payloadAt + this.payloadLength;
    const heap = this.heap as Utf8Slices;
    return heap.utf8Slice?.(this.payloadAt, end) ?? this.heap.toString('utf8', this.payloadAt, end);
  }
  payloadBytes(): Buffer {
    return this.chunk.copy(this.payloadAt, this.payloadLength);
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
