/**
 * The host side of the durable gate: what the core wants stored comes out here, what was stored is
 * reported and restored here. Bytes that an event carries are valid until it returns.
 */
import {
  FACT_COPY_MASK, FACT_COPY_SHIFT, FACT_GROUP, FACT_IDENTIFIER_SHIFT, FACT_QOS_MASK, FACT_RETAIN,
  GATE_RETAINED, GATE_RETAINED_DELETED, GATE_TAKEN, ROW_APPEND, ROW_DONE, ROW_ENDED, ROW_HANDLE,
  ROW_KIND, ROW_MOVED, ROW_PUBREL, ROW_RELEASE, ROW_RETAINED,
} from '../../assembly/shared/abi.js';
import type { ConnectionHandle, SessionHandle } from './contract.js';
import type { CoreExports } from './instance.js';
import { viewOf } from './views.js';

/** Bytes as they stand in the core: read them before the event returns. */
export interface DurableMessage {
  readonly topicName: Buffer;
  /** Encoded properties that are forwarded unaltered. */
  readonly properties: Buffer;
  readonly payload: Buffer;
  readonly qos: number;
  readonly retain: boolean;
  /** On the core's clock; 0 = never. */
  readonly expiresAt: number;
}
export interface DurableEntry {
  readonly session: SessionHandle;
  readonly qos: number;
  readonly retain: boolean;
  /** The number of this entry is that of its message plus this. */
  readonly copy: number;
  readonly packetIdentifier: number;
  /** Encoded Subscription Identifier properties. */
  readonly subscriptionIdentifiers: Buffer;
  /** The Topic Filter of the shared subscription that it came by; empty for none. */
  readonly group: Buffer;
}
export interface Append {
  readonly gate: number;
  /** 0 = this process. */
  readonly publisher: SessionHandle;
  /** undefined only when memory was too short for it; then there are no entries either. */
  readonly message: DurableMessage | undefined;
  readonly entries: readonly DurableEntry[];
  readonly retained: 'unchanged' | 'stored' | 'deleted';
  /** Whether somebody who is not stored has it already. */
  readonly others: 'some' | 'none';
  /** Incoming QoS 2 Packet Identifier to store with it; 0 = none. */
  readonly inboundIdentifier: number;
  /** Client role: what `publishTo` was given; 0 = nobody waits. */
  readonly token: number;
}

/** Answers of `append`. */
export const NOT_STORED = -1;
export const STORED_LATER = -2;

export interface DurableEvents {
  /**
   * Store it under the number that is answered, then `commit(gate)`, in the order of these calls.
   * 0: it cannot be stored, nobody gets it, and a publisher with MQTT 5 is told (Quota exceeded).
   * NOT_STORED: it need not be, and is delivered and answered at once. STORED_LATER: the store is
   * not open yet; `appendAgain` asks again.
   */
  append(append: Append): number;
  /** A retained message that nobody waits for; undefined = it is deleted. */
  retained(topicName: Buffer, message: DurableMessage | undefined): void;
  /** An entry is done with; `released` when only its identifier was left. */
  done(session: SessionHandle, number: number, was: 'queued' | 'released'): void;
  /** PUBREC came: store that, then `commitRelease`. */
  release(session: SessionHandle, packetIdentifier: number, number: number): void;
  /** PUBREL came: store that, then `commitPubrel`. */
  pubrel(connection: ConnectionHandle, session: SessionHandle, packetIdentifier: number): void;
  /** An entry went to another member of its group; undefined = to one that is not stored. */
  moved(
    from: SessionHandle, number: number, message: DurableMessage, entry: DurableEntry | undefined,
  ): void;
  /** A session that was kept has ended, and everything of it that moves has moved. */
  ended(session: SessionHandle): void;
}

/** The columns of a ROW_APPEND. */
interface GateRow {
  readonly publisher: SessionHandle;
  /** Address of the message; 0 = none. */
  readonly message: number;
  readonly bits: number;
  readonly inboundIdentifier: number;
  readonly token: number;
}

/** As it was stored. */
export interface RestoredMessage extends Pick<DurableMessage, 'qos' | 'retain'> {
  readonly number: number;
  /** Topic Name, properties and payload, one behind the other. */
  readonly body: Uint8Array;
  readonly topicLength: number;
  readonly propertiesLength: number;
}
export interface RestoredEntry
  extends Pick<DurableEntry, 'qos' | 'retain' | 'packetIdentifier'> {
  readonly subscriptionIdentifiers: Uint8Array;
  readonly group: Uint8Array;
}

export interface DurableHost {
  now(): number;
  /** Reads rows and plans a flush. */
  afterwards(): void;
}

const QUOTA_EXCEEDED = 0x97;
/** As in assembly/switch/gate.ts. */
const KEPT = 1;
const SPILLED = 2;
const NUMBER_COLUMN = 4;

export class DurableSide {
  readonly #exchange: number;
  /** The same rows, two words a number. */
  readonly #numbers: Float64Array;

  constructor(
    private readonly x: CoreExports, private readonly heap: Buffer,
    private readonly words: Uint32Array, private readonly events: DurableEvents,
    private readonly host: DurableHost,
  ) {
    this.#exchange = x.exchangeAt() >>> 0;
    this.#numbers = new Float64Array(words.buffer, words.byteOffset, words.length / 2);
    x.setDurable();
  }

  // --- events ----------------------------------------------------------------------------------

  /** False when the row is none of the gate's. */
  tell(row: number): boolean {
    const { words, events } = this;
    const handle = words[row + ROW_HANDLE];
    switch (words[row + ROW_KIND]) {
      case ROW_APPEND:
        this.#append(words[row + 2], {
          publisher: handle, message: words[row + 3], bits: words[row + 5],
          inboundIdentifier: words[row + 6], token: words[row + 7],
        });
        return true;
      case ROW_RETAINED: this.#retained(row); return true;
      case ROW_DONE:
        events.done(handle, this.#number(row), words[row + 2] === 1 ? 'released' : 'queued');
        return true;
      case ROW_RELEASE: events.release(handle, words[row + 2], this.#number(row)); return true;
      case ROW_PUBREL: events.pubrel(handle, words[row + 3], words[row + 2]); return true;
      case ROW_MOVED: this.#moved(row, handle); return true;
      case ROW_ENDED: events.ended(handle); return true;
      default: return false;
    }
  }
  /** What comes out of a Float64Array is a fraction to V8, which most numbers here are not. */
  #number(row: number): number {
    const number = this.#numbers[(row + NUMBER_COLUMN) / 2];
    const small = number | 0;
    return small === number ? small : number;
  }

  #append(gate: number, asked: GateRow): void {
    const entries: DurableEntry[] = [];
    let at = this.x.gateEntry(gate) >>> 0;
    for (; at !== 0; at = this.x.nextGateEntry(at) >>> 0) {
      entries.push(this.#entry(at, this.x.entrySession(at) >>> 0));
    }
    const { publisher, message, bits, inboundIdentifier, token } = asked;
    const number = this.events.append({
      gate, publisher, entries, message: message === 0 ? undefined : this.#message(message),
      retained: retainedWord(bits), others: bits & GATE_TAKEN ? 'some' : 'none',
      inboundIdentifier, token,
    });
    if (number === STORED_LATER) return;
    if (number === NOT_STORED) this.x.passGate(gate, this.host.now());
    else if (number === 0) this.x.refuseGate(gate, QUOTA_EXCEEDED, this.host.now());
    else if (message !== 0) this.x.setGateNumber(gate, number);
  }
  /**
   * Client role: what `append` answered with STORED_LATER, now that what was stored has its
   * identifiers. Ends with `settle`.
   */
  appendAgain({ gate, token }: Pick<Append, 'gate' | 'token'>): void {
    this.x.giveGateIdentifiers(gate);
    const message = this.x.gateMessage(gate) >>> 0;
    this.#append(gate, { publisher: 0, message, bits: 0, inboundIdentifier: 0, token });
  }
  #retained(row: number): void {
    const message = this.words[row + 2];
    const at = this.words[row + 4];
    const topicName = this.heap.subarray(at, at + this.words[row + 5]);
    this.events.retained(topicName, message === 0 ? undefined : this.#message(message));
  }
  #moved(row: number, to: SessionHandle): void {
    const { words } = this;
    const message = this.#message(words[row + 6]);
    const entry = to === 0 ? undefined : factsOf(
      to, words[row + 3], this.#bytes(this.x.encodeIdentifier(words[row + 7])),
      this.#bytes(this.x.groupFilter(words[row + 8])),
    );
    this.events.moved(words[row + 2], this.#number(row), message, entry);
  }

  #message(message: number): DurableMessage {
    const topicAt = this.x.messageBody(message) >>> 0;
    const propertiesAt = topicAt + this.x.messageTopicLength(message);
    const payloadAt = propertiesAt + this.x.messageForwardLength(message);
    const flags = this.x.messageFlags(message);
    const memory = this.heap.buffer;
    return {
      topicName: viewOf(memory, topicAt, propertiesAt - topicAt),
      properties: propertiesAt === payloadAt
        ? NOTHING : viewOf(memory, propertiesAt, payloadAt - propertiesAt),
      payload: viewOf(memory, payloadAt, this.x.messagePayloadLength(message)),
      qos: flags & FACT_QOS_MASK,
      retain: (flags & FACT_RETAIN) !== 0,
      expiresAt: this.x.messageExpiresAt(message),
    };
  }
  #entry(at: number, session: SessionHandle): DurableEntry {
    const { x } = this;
    const facts = x.entryFacts(at) >>> 0;
    const identifiers = this.#bytes(x.entryIdentifiers(at));
    const group = facts & FACT_GROUP ? this.#bytes(x.groupFilter(x.entryGroup(at))) : NOTHING;
    return factsOf(session, facts, identifiers, group);
  }
  /** What the core has just written to the exchange area. */
  #bytes(length: number): Buffer {
    if (length === 0) return NOTHING;
    return Buffer.from(this.heap.subarray(this.#exchange, this.#exchange + length));
  }

  // --- answers ---------------------------------------------------------------------------------

  /** What this session gets from now on is stored first. Before its first subscription. */
  keep(session: SessionHandle): void {
    this.x.markDurable(session, KEPT);
  }
  /**
   * The queue of this session is too long for memory: what is committed for it from now on is not
   * delivered. `keep` ends that.
   */
  spill(session: SessionHandle): void {
    this.x.markDurable(session, SPILLED);
  }
  gatedEntries(session: SessionHandle): number {
    return this.x.gatedEntries(session) >>> 0;
  }
  /** Those that were told with `append` and are not committed. */
  storingEntries(session: SessionHandle): number {
    return this.x.storingEntries(session) >>> 0;
  }
  /** The highest number of a stored entry that is in memory; 0 = none. */
  lastQueued(session: SessionHandle): number {
    return this.x.lastQueued(session);
  }
  queuedMessages(session: SessionHandle): number {
    return this.x.queuedMessages(session) >>> 0;
  }
  /** Whether its queue holds what another member of a shared subscription could take over. */
  hasShared(session: SessionHandle): boolean {
    return this.x.sharedEntries(session) !== 0;
  }
  /** What is retained under a topic; undefined = nothing. */
  retainedOf(topicName: Buffer): DurableMessage | undefined {
    this.heap.set(topicName, this.#exchange);
    const found = this.x.findRetained(topicName.length) >>> 0;
    return found === 0 ? undefined : this.#message(found);
  }
  queuedBytes(session: SessionHandle): number {
    return this.x.queuedBytes(session) >>> 0;
  }
  /** Delivers what was restored while clients are there. */
  pump(session: SessionHandle): void {
    this.x.pumpSession(session);
    this.host.afterwards();
  }

  /** The answers of one batch are one turn: end them with `settle`. */
  commit(gate: number): void {
    this.x.commitGate(gate, this.host.now());
  }
  commitRelease(session: SessionHandle, packetIdentifier: number): void {
    this.x.commitRelease(session, packetIdentifier, this.host.now());
  }
  commitPubrel(connection: ConnectionHandle, packetIdentifier: number): void {
    this.x.commitPubrel(connection, packetIdentifier, this.host.now());
  }
  settle(): void {
    this.host.afterwards();
  }

  // --- restoring -------------------------------------------------------------------------------

  /**
   * A message block that is held until `letGo`; 0 when there is no memory. `expiresAt` is a time of
   * the core's clock, 0 = never.
   */
  restoreMessage(message: RestoredMessage, expiresAt: number): number {
    const { body, topicLength, propertiesLength, qos, retain, number } = message;
    const { x } = this;
    const payloadLength = body.length - topicLength - propertiesLength;
    const block = x.allocateMessage(topicLength, propertiesLength, payloadLength) >>> 0;
    if (block === 0) return 0;
    this.heap.set(body, x.messageBody(block) >>> 0);
    x.restoreMessage(block, qos, Number(retain), expiresAt, number);
    return block;
  }
  letGo(block: number): void {
    this.x.freeMessage(block);
  }
  /** False when there is no memory. `maybe-sent` is sent with DUP. */
  restoreEntry(
    session: SessionHandle, block: number, entry: RestoredEntry, copy: number,
    state: 'pending' | 'maybe-sent',
  ): boolean {
    const { subscriptionIdentifiers: identifiers, group } = entry;
    if (identifiers.length !== 0) this.heap.set(identifiers, this.#exchange);
    if (group.length !== 0) this.heap.set(group, this.#exchange + identifiers.length);
    const facts = entry.qos | (entry.retain ? FACT_RETAIN : 0) | (copy << FACT_COPY_SHIFT)
      | (entry.packetIdentifier << FACT_IDENTIFIER_SHIFT);
    const sent = state === 'maybe-sent' ? 1 : 0;
    return this.x.restoreEntry(session, block, facts, sent, identifiers.length, group.length) !== 0;
  }
  /**
   * A Topic Filter as it was sent, `$share/<name>/` included; `options` as in the SUBSCRIBE packet.
   * False when there is no memory.
   */
  restoreSubscription(
    session: SessionHandle, topicFilter: Uint8Array, options: number, identifier: number,
  ): boolean {
    const { heap } = this;
    const at = this.#exchange;
    const shareEnd = isShared(topicFilter) ? topicFilter.indexOf(SLASH, SHARE_PREFIX.length) : 0;
    if (shareEnd === 0) {
      heap.set(topicFilter, at);
      return this.x.subscribe(session, topicFilter.length, 0, options, identifier)
        <= SUBSCRIBED_AGAIN;
    }
    const shareName = topicFilter.subarray(SHARE_PREFIX.length, shareEnd);
    const filterLength = topicFilter.length - shareEnd - 1;
    heap.set(topicFilter.subarray(shareEnd + 1), at);
    heap.set(shareName, at + filterLength);
    return this.x.subscribe(session, filterLength, shareName.length, options, identifier)
      <= SUBSCRIBED_AGAIN;
  }
  restoreReleased(session: SessionHandle, packetIdentifier: number, number: number): boolean {
    return this.x.restoreReleased(session, packetIdentifier, number) !== 0;
  }
  restoreInbound(session: SessionHandle, packetIdentifier: number): boolean {
    return this.x.restoreInbound(session, packetIdentifier) !== 0;
  }
  /** Takes the block over. */
  restoreRetained(block: number): boolean {
    return this.x.restoreRetained(block) !== 0;
  }
  lastIdentifier(session: SessionHandle): number {
    return this.x.lastIdentifier(session);
  }
  setLastIdentifier(session: SessionHandle, packetIdentifier: number): void {
    this.x.setLastIdentifier(session, packetIdentifier);
  }
}
const NOTHING = Buffer.alloc(0);
const SHARE_PREFIX = Buffer.from('$share/');
const DOLLAR = 0x24;
const SLASH = 0x2f;
/** `subscribe` answers this or less when the subscription is there. */
const SUBSCRIBED_AGAIN = 1;

function isShared(topicFilter: Uint8Array): boolean {
  return topicFilter[0] === DOLLAR
    && SHARE_PREFIX.equals(topicFilter.subarray(0, SHARE_PREFIX.length));
}

function factsOf(
  session: SessionHandle, facts: number, subscriptionIdentifiers: Buffer, group: Buffer,
): DurableEntry {
  return {
    session, qos: facts & FACT_QOS_MASK, retain: (facts & FACT_RETAIN) !== 0,
    copy: (facts >>> FACT_COPY_SHIFT) & FACT_COPY_MASK,
    packetIdentifier: facts >>> FACT_IDENTIFIER_SHIFT, subscriptionIdentifiers, group,
  };
}
function retainedWord(bits: number): Append['retained'] {
  if (bits & GATE_RETAINED) return 'stored';
  return bits & GATE_RETAINED_DELETED ? 'deleted' : 'unchanged';
}
