/**
 * The topic index alone, compiled for its tests, behind calls that take strings. Sessions are
 * blocks with a list head, as everywhere; messages are numbers.
 */
import { compiled } from './compiled.js';

const MEMORY_RECORD = 0;
export const MEMORY_RETAINED = 3;
export const MEMORY_INDEX = 4;
const TEXT_BYTES = 65_536 + 64;

export const RETAIN_AS_PUBLISHED = 1;
export const NO_LOCAL = 2;
export const SHARED = 4;
export const MIXED_NO_LOCAL = 8;

type Call = (...words: (number | bigint)[]) => number;
interface Globals {
  readonly memory: WebAssembly.Memory;
  readonly subscribeExisted: { readonly value: number };
  readonly retainedReplaced: { readonly value: number };
  readonly walkDone: { readonly value: number };
  readonly walkSpent: { readonly value: number };
  readonly matchEpoch: { value: number };
  readonly hashKey: { readonly value: bigint };
}
type CallName =
  | 'allocate' | 'growMemory' | 'heapBase' | 'initialiseBlocks' | 'initialiseIndex' | 'setBudget'
  | 'usedOf' | 'internedTopics' | 'internTopic' | 'pinTopic' | 'setTopicCacheMax' | 'unpinTopic'
  | 'findSubscription' | 'subscribe' | 'subscriptionCount' | 'topicFilterLength' | 'unsubscribe'
  | 'writeTopicFilter' | 'localReceiver' | 'receiversOf' | 'pinGroup' | 'unpinGroup'
  | 'matcherAdd' | 'matcherCreate' | 'matcherFree' | 'matcherMatch' | 'matcherRemove'
  | 'retainedCount' | 'retainedFind' | 'retainedPut' | 'retainedRemove'
  | 'walkEnd' | 'walkNext' | 'walkStart';
type Exports = Readonly<Record<CallName, Call>> & Globals;

export interface SubscribeOptions {
  readonly shareName?: string;
  readonly options?: number;
  readonly identifier?: number;
  readonly tag?: number;
}

export interface ReceiverRecord {
  readonly session: number;
  readonly subscription: number;
  readonly qos: number;
  readonly flags: number;
  readonly identifiers: readonly number[];
}

/** The module that every test makes its own instance of. */
export function compileIndex(): WebAssembly.Module {
  return compiled('topic-index');
}

export class IndexHost {
  readonly call: Exports;
  private readonly text: number;
  private readonly text2: number;
  private readonly out: number;

  constructor(module: WebAssembly.Module, seed = 1n, pages = 512) {
    const env = { abort: () => { throw new Error('abort'); } };
    this.call = new WebAssembly.Instance(module, { env }).exports as unknown as Exports;
    this.call.growMemory(pages);
    this.text = this.call.heapBase();
    this.text2 = this.text + TEXT_BYTES;
    this.out = this.text2 + TEXT_BYTES;
    this.call.initialiseBlocks(this.out + 2 * TEXT_BYTES, this.call.memory.buffer.byteLength);
    this.call.initialiseIndex(seed);
  }

  get view(): DataView {
    return new DataView(this.call.memory.buffer);
  }

  used(memoryClass: number): number {
    return this.call.usedOf(memoryClass);
  }

  private put(text: string | Uint8Array, at: number): number {
    const bytes = typeof text === 'string' ? Buffer.from(text) : text;
    new Uint8Array(this.call.memory.buffer).set(bytes, at);
    // What stands behind the text must not matter.
    new Uint8Array(this.call.memory.buffer).fill(0x2f, at + bytes.length, at + bytes.length + 16);
    return bytes.length;
  }

  private bytes(at: number, length: number): Buffer {
    return Buffer.from(new Uint8Array(this.call.memory.buffer).slice(at, at + length));
  }

  session(): number {
    const pointer = this.call.allocate(MEMORY_RECORD, 16) >>> 0;
    this.view.setUint32(pointer, 0, true);
    return pointer;
  }

  subscribe(session: number, filter: string | Uint8Array, more: SubscribeOptions = {}): number {
    const length = this.put(filter, this.text);
    const shareLength = this.put(more.shareName ?? '', this.text2);
    return this.call.subscribe(
      this.text, length, this.text2, shareLength,
      session, more.options ?? 0, more.identifier ?? 0, more.tag ?? 0,
    ) >>> 0;
  }

  find(session: number, filter: string, shareName = ''): number {
    const length = this.put(filter, this.text);
    const shareLength = this.put(shareName, this.text2);
    return this.call.findSubscription(this.text, length, this.text2, shareLength, session) >>> 0;
  }

  filterOf(subscription: number): string {
    const length = this.call.writeTopicFilter(subscription, this.out);
    if (length !== this.call.topicFilterLength(subscription)) throw new Error('filter length');
    return this.bytes(this.out, length).toString();
  }

  intern(topic: string | Uint8Array): number {
    return this.call.internTopic(this.text, this.put(topic, this.text)) >>> 0;
  }

  /** The receivers of the topic; undefined: out of memory. */
  match(topic: string | Uint8Array): ReceiverRecord[] | undefined {
    const entry = this.intern(topic);
    return entry === 0 ? undefined : this.receiversOf(entry);
  }

  receiversOf(entry: number): ReceiverRecord[] | undefined {
    const at = this.call.receiversOf(entry) >>> 0;
    if (at === 0) return undefined;
    const count = this.view.getUint32(at, true);
    return Array.from({ length: count }, (_, i) => this.receiver(at + 8 + i * 16));
  }

  local(entry: number, session: number): ReceiverRecord | undefined {
    return this.call.localReceiver(entry, session, this.out) ? this.receiver(this.out) : undefined;
  }

  private receiver(at: number): ReceiverRecord {
    const view = this.view;
    return {
      session: view.getUint32(at, true),
      subscription: view.getUint32(at + 4, true),
      qos: view.getUint8(at + 8),
      flags: view.getUint8(at + 9),
      identifiers: identifiersIn(
        this.bytes(view.getUint32(at + 12, true), view.getUint16(at + 10, true)),
      ),
    };
  }

  /** The members of a group, as Subscription pointers. */
  membersOf(group: number): number[] {
    const members = this.view.getUint32(group, true);
    const count = this.view.getUint32(group + 4, true);
    return Array.from({ length: count }, (_, i) => this.view.getUint32(members + 4 * i, true));
  }

  retain(topic: string, message: number, order: number): number {
    return this.call.retainedPut(this.text, this.put(topic, this.text), message, order);
  }

  unretain(topic: string): number {
    return this.call.retainedRemove(this.text, this.put(topic, this.text));
  }

  retained(topic: string): number {
    return this.call.retainedFind(this.text, this.put(topic, this.text));
  }

  walk(filter: string, order: number): number {
    return this.call.walkStart(this.text, this.put(filter, this.text), order) >>> 0;
  }

  /** The rest of a walk, in calls of `budget` steps. */
  finish(walk: number, budget: number): number[] {
    const messages: number[] = [];
    for (;;) {
      const message = this.call.walkNext(walk, budget);
      if (message !== 0) messages.push(message);
      else if (this.call.walkDone.value) break;
    }
    this.call.walkEnd(walk);
    return messages;
  }

  addRule(matcher: number, filter: string, id: number): number {
    return this.call.matcherAdd(matcher, this.text, this.put(filter, this.text), id);
  }

  removeRule(matcher: number, filter: string, id: number): void {
    this.call.matcherRemove(matcher, this.text, this.put(filter, this.text), id);
  }

  matchRules(matcher: number, topic: string, max = 1000): number[] {
    const length = this.put(topic, this.text);
    const count = this.call.matcherMatch(matcher, this.text, length, this.out, max);
    return Array.from({ length: Math.min(count, max) }, (_, i) =>
      this.view.getUint32(this.out + 4 * i, true));
  }
}

/** Decodes `0B vbi 0B vbi ...`. */
function identifiersIn(bytes: Buffer): number[] {
  const found: number[] = [];
  let at = 0;
  while (at < bytes.length) {
    if (bytes[at++] !== 0x0b) throw new Error('not a Subscription Identifier');
    let value = 0;
    for (let shift = 1; ; shift *= 128) {
      const byte = bytes[at++];
      value += (byte & 0x7f) * shift;
      if (byte < 0x80) break;
    }
    found.push(value);
  }
  return found;
}
