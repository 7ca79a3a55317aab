/** Messages as they come, and a way to wait for one: no sleeping, no polling. */
import { TopicMatcher } from '../core/topic-matcher.js';
import type { MessageProperties, Qos } from '../core/contract.js';

export interface SeenMessage {
  readonly topicName: string;
  readonly payload: Buffer;
  readonly qos: Qos;
  readonly retain: boolean;
  readonly properties: MessageProperties;
}

/** What a message has to be like. What is left out may be anything. */
export interface Expectation {
  /** Text, bytes, an object (compared as JSON), or a function that says yes. */
  readonly payload?: string | Uint8Array | object | ((payload: Buffer) => boolean);
  readonly qos?: Qos;
  readonly retain?: boolean;
  /** Milliseconds of real time to wait for it. Default 1,000. */
  readonly timeoutMs?: number;
}

interface Waiting {
  readonly test: (message: SeenMessage) => boolean;
  readonly resolve: (message: SeenMessage) => void;
}

const TIMEOUT_MS = 1_000;
const MESSAGES_MAX = 10_000;
const LISTED_MAX = 20;
const PAYLOAD_CHARACTERS_MAX = 80;

export class Inbox {
  /** Oldest first; the last 10,000. */
  readonly messages: SeenMessage[] = [];
  #waiting: Waiting[] = [];

  add(message: SeenMessage): void {
    const { topicName, payload, qos, retain, properties } = message;
    const seen = { topicName, payload, qos, retain, properties };
    if (this.messages.length >= MESSAGES_MAX) this.messages.shift();
    this.messages.push(seen);
    this.#waiting = this.#waiting.filter(({ test, resolve }) => {
      const fits = test(seen);
      if (fits) resolve(seen);
      return !fits;
    });
  }

  clear(): void {
    this.messages.length = 0;
  }

  /** Messages of topics that match, so far. */
  of(topicFilter: string): SeenMessage[] {
    const matches = matcherOf(topicFilter);
    return this.messages.filter(({ topicName }) => matches(topicName));
  }

  /** The first message that fits, seen already or to come; rejects with a list of what came. */
  async expect(topicFilter: string, expectation: Expectation = {}): Promise<SeenMessage> {
    const matches = matcherOf(topicFilter);
    const test = (message: SeenMessage): boolean =>
      matches(message.topicName) && fits(message, expectation);
    const seen = this.messages.find(test);
    if (seen !== undefined) return seen;
    const { timeoutMs = TIMEOUT_MS } = expectation;
    let timer: NodeJS.Timeout | undefined;
    const come = new Promise<SeenMessage>((resolve) => this.#waiting.push({ test, resolve }));
    const late = new Promise<'late'>((resolve) => {
      timer = setTimeout(() => resolve('late'), timeoutMs);
    });
    const first = await Promise.race([come, late]);
    clearTimeout(timer);
    if (first === 'late') throw this.#missing(topicFilter, expectation, timeoutMs);
    return first;
  }

  #missing(topicFilter: string, expectation: Expectation, timeoutMs: number): Error {
    const { payload, qos, retain } = expectation;
    const wanted = { payload, qos, retain };
    const listed = this.messages.slice(-LISTED_MAX).map((message) => `  ${describe(message)}`);
    return new Error(
      `no message to ${topicFilter} ${describeExpectation(wanted)}within ${timeoutMs} ms. Seen:\n` +
        (listed.length === 0 ? '  nothing' : listed.join('\n')),
    );
  }
}

function matcherOf(topicFilter: string): (topicName: string) => boolean {
  if (!/[+#]/.test(topicFilter)) return (topicName) => topicName === topicFilter;
  // One matcher answers for the whole product: the core's.
  return (topicName) => {
    const matcher = new TopicMatcher();
    matcher.add(topicFilter);
    const matches = matcher.match(topicName).length > 0;
    matcher.free();
    return matches;
  };
}

function fits(message: SeenMessage, expectation: Expectation): boolean {
  const { payload, qos, retain } = expectation;
  if (qos !== undefined && message.qos !== qos) return false;
  if (retain !== undefined && message.retain !== retain) return false;
  if (payload === undefined) return true;
  if (typeof payload === 'function') {
    return (payload as (bytes: Buffer) => boolean)(message.payload);
  }
  if (typeof payload === 'string') return message.payload.toString() === payload;
  if (payload instanceof Uint8Array) return message.payload.equals(payload);
  return sameJson(message.payload.toString(), payload);
}

function sameJson(text: string, wanted: object): boolean {
  try {
    return canonical(JSON.parse(text)) === canonical(wanted);
  } catch {
    return false;
  }
}

/** JSON whose keys are sorted. */
function canonical(value: unknown): string {
  return JSON.stringify(value, (_key, part: unknown) => {
    if (typeof part !== 'object' || part === null || Array.isArray(part)) return part;
    return Object.fromEntries(
      Object.entries(part).sort(([one], [other]) => (one < other ? -1 : 1)),
    );
  });
}

function describe({ topicName, payload, qos, retain }: SeenMessage): string {
  const text = JSON.stringify(payload.toString().slice(0, PAYLOAD_CHARACTERS_MAX));
  return `${topicName} ${text} qos ${qos}${retain ? ' retain' : ''}`;
}

function describeExpectation(wanted: Omit<Expectation, 'timeoutMs'>): string {
  if (Object.values(wanted).every((one) => one === undefined)) return '';
  const isAsked = typeof wanted.payload === 'function';
  const shown = isAsked ? { ...wanted, payload: 'a function' } : wanted;
  return `with ${JSON.stringify(shown)} `;
}
