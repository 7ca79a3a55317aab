/** `-D command name value`: properties of MQTT 5, under the names that mosquitto gives them. */
import { invalid } from './flags.js';

type Read = (text: string, name: string) => unknown;

interface PropertyName {
  readonly key: string;
  readonly commands: readonly string[];
  readonly read: Read;
}

const TEXT_BYTES_MAX = 65_535;
const text: Read = (value, name) => {
  if (Buffer.byteLength(value) <= TEXT_BYTES_MAX) return value;
  throw invalid(`-D ${name}: longer than ${TEXT_BYTES_MAX} bytes`);
};
const bytes: Read = (value) => Buffer.from(value);
const whole = (max: number): Read => (value, name) => {
  if (/^\d+$/.test(value) && Number(value) <= max) return Number(value);
  throw invalid(`-D ${name} ${value}: must be a whole number up to ${max}`);
};
const yesNo: Read = (value, name) => whole(1)(value, name) === 1;

const MESSAGE = ['publish', 'will'];

const NAMES = new Map<string, PropertyName>([
  ['payload-format-indicator',
    { key: 'payloadFormatIndicator', commands: MESSAGE, read: whole(1) }],
  ['message-expiry-interval',
    { key: 'messageExpiryInterval', commands: MESSAGE, read: whole(0xffff_ffff) }],
  ['content-type', { key: 'contentType', commands: MESSAGE, read: text }],
  ['response-topic', { key: 'responseTopic', commands: MESSAGE, read: text }],
  ['correlation-data', { key: 'correlationData', commands: MESSAGE, read: bytes }],
  ['will-delay-interval',
    { key: 'willDelayInterval', commands: ['will'], read: whole(0xffff_ffff) }],
  ['subscription-identifier',
    { key: 'subscriptionIdentifier', commands: ['subscribe'], read: whole(268_435_455) }],
  ['session-expiry-interval',
    {
      key: 'sessionExpiryInterval', commands: ['connect', 'disconnect'], read: whole(0xffff_ffff),
    }],
  ['reason-string', { key: 'reasonString', commands: ['disconnect'], read: text }],
  ['receive-maximum', { key: 'receiveMaximum', commands: ['connect'], read: whole(65_535) }],
  ['maximum-packet-size',
    { key: 'maximumPacketSize', commands: ['connect'], read: whole(0xffff_ffff) }],
  ['topic-alias-maximum', { key: 'topicAliasMaximum', commands: ['connect'], read: whole(65_535) }],
  ['request-response-information',
    { key: 'requestResponseInformation', commands: ['connect'], read: yesNo }],
  ['request-problem-information',
    { key: 'requestProblemInformation', commands: ['connect'], read: yesNo }],
]);
const USER = 'user-property';
const WITH_PAIRS = ['connect', 'publish', 'subscribe', 'unsubscribe', 'disconnect', 'will'];

/** The properties of each command. */
export class PropertySets {
  readonly #sets = new Map<string, Map<string, unknown>>();
  readonly #pairs = new Map<string, (readonly [string, string])[]>();

  get size(): number {
    return this.#sets.size + this.#pairs.size;
  }

  of(command: string): Record<string, unknown> {
    const pairs = this.#pairs.get(command);
    return {
      ...Object.fromEntries(this.#sets.get(command) ?? []),
      ...pairs === undefined ? {} : { userProperties: pairs },
    };
  }

  set(command: string, property: PropertyName, name: string, value: string): void {
    const set = this.#sets.get(command) ?? new Map<string, unknown>();
    if (set.has(property.key)) throw invalid(`-D ${command} ${name} was given twice`);
    this.#sets.set(command, set.set(property.key, property.read(value, name)));
  }
  addPair(command: string, name: string, value: string): void {
    const pair = [text(name, USER), text(value, USER)] as [string, string];
    this.#pairs.set(command, [...this.#pairs.get(command) ?? [], pair]);
  }
}

/** A `user-property` has a name and a value: one word more than the others. */
export function wordsOfProperty(words: readonly string[]): number {
  return words[1] === USER ? 4 : 3;
}

export function readProperties(given: readonly (readonly string[])[]): PropertySets {
  const sets = new PropertySets();
  for (const [command, name, value, second] of given) {
    if (name === USER) {
      check(command, name, WITH_PAIRS);
      sets.addPair(command, value, second);
      continue;
    }
    const property = NAMES.get(name);
    if (property === undefined) {
      throw invalid(`-D ${command} ${name}: must be one of ${[...NAMES.keys(), USER].join(', ')}`);
    }
    check(command, name, property.commands);
    sets.set(command, property, name, value);
  }
  return sets;
}

function check(command: string, name: string, commands: readonly string[]): void {
  if (!commands.includes(command)) {
    throw invalid(`-D ${command} ${name}: ${name} belongs to ${commands.join(', ')}`);
  }
}
