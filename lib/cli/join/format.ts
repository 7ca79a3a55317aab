/** `-F`: the output formats of mosquitto_sub. Payloads stay bytes. */
import type { IncomingMessage } from '../../client/index.js';
import { invalid } from './flags.js';
import { strftime } from './strftime.js';
import { jsonOf } from './message-json.js';

export interface FormatOptions {
  readonly pretty?: boolean;
  /** `own`: they are the client's, and nobody asked for them. */
  readonly subscriptionIdentifiers: 'own' | 'asked';
  /** Told of a message that cannot be printed as it was asked. */
  readonly complain: (message: string) => void;
}

interface Width {
  readonly min: number;
  readonly max: number;
  readonly fill: 'zero' | 'blank';
  readonly side: 'left' | 'right';
}

interface Padding extends Pick<Width, 'min' | 'side'> {
  readonly fill: '0' | ' ';
}

type Piece = (message: IncomingMessage, when: Date, options: FormatOptions) => string | Buffer;

const ESCAPES = new Map([
  ['\\', '\\'], ['0', '\0'], ['a', '\x07'], ['e', '\x1b'], ['n', '\n'], ['r', '\r'], ['t', '\t'],
  ['v', '\v'],
]);
const NO_WIDTH: Width = { min: 0, max: Infinity, fill: 'blank', side: 'right' };

/** Parameters that may have a field width; undefined = nothing is printed, whatever the width. */
const FIELDS = new Map<
  string, (message: IncomingMessage, options: FormatOptions) => string | undefined
>([
  ['A', ({ topicAlias }) => optional(topicAlias || undefined)],
  ['C', ({ properties }) => properties.contentType ?? ''],
  ['E', ({ properties }) => optional(properties.messageExpiryInterval)],
  ['F', ({ properties }) => optional(properties.payloadFormatIndicator)],
  ['l', ({ payload }) => `${payload.length}`],
  ['m', ({ packetIdentifier }) => `${packetIdentifier}`],
  ['R', ({ properties }) => properties.responseTopic],
  ['S', ({ subscriptionIdentifiers: [first] }, options) =>
    (options.subscriptionIdentifiers === 'own' ? '' : optional(first))],
  ['t', ({ topicName }) => topicName],
]);
const NUMBERS = new Set(['A', 'E', 'F', 'l', 'm', 'S']);
const PAYLOADS = new Map<string, (payload: Buffer) => Buffer>([
  ['p', (payload) => payload],
  ['x', (payload) => Buffer.from(payload.toString('hex'))],
  ['X', (payload) => Buffer.from(payload.toString('hex').toUpperCase())],
]);
const HEX_DIGITS = 2;

/** Parameters without one. */
const OTHERS = new Map<string, Piece>([
  ['%', () => '%'],
  ['D', ({ properties }) => Buffer.from(properties.correlationData ?? [])],
  ['P', ({ properties }) =>
    (properties.userProperties ?? []).map(([name, value]) => `${name}:${value}`).join(' ')],
  ['q', ({ qos }) => `${qos}`],
  ['r', ({ retain }) => (retain ? '1' : '0')],
  ['I', (_, when) => strftime(when, '%Y-%m-%dT%H:%M:%S%z')],
  ['U', (_, when) => `${Math.floor(when.getTime() / 1000)}.${nanoseconds(when)}`],
  ['j', (message, when, { pretty }) => jsonOf(message, when, { payload: 'text', pretty })],
  ['J', (message, when, { pretty, complain }) => {
    try {
      return jsonOf(message, when, { payload: 'json', pretty });
    } catch {
      complain(`Message payload is not valid JSON on topic ${message.topicName}.`);
      return '';
    }
  }],
]);

function optional(value: number | boolean | undefined): string {
  return value === undefined ? '' : `${Number(value)}`;
}
function nanoseconds(when: Date): string {
  return `${when.getMilliseconds()}`.padStart(3, '0').padEnd(9, '0');
}

/** Widths count bytes. */
function fitted(text: string, width: Width, name: string): Buffer {
  const value = Buffer.from(text);
  const fill = width.fill === 'zero' && NUMBERS.has(name) ? '0' : ' ';
  return padded(value.subarray(0, width.max), { ...width, fill });
}
function padded(value: Buffer, { min, side, fill }: Padding): Buffer {
  if (value.length >= min) return value;
  const padding = Buffer.alloc(min - value.length, side === 'left' ? ' ' : fill);
  return Buffer.concat(side === 'left' ? [value, padding] : [padding, value]);
}
/**
 * As mosquitto_sub does it: the width of a payload is a maximum as well, there is no other one, and
 * of hexadecimal digits half as many bytes are printed as would have room (or are there).
 */
function fittedPayload(payload: Buffer, width: Width, name: string): Buffer {
  const print = PAYLOADS.get(name)!;
  if (width.min === 0) return print(payload);
  const cut = Math.min(payload.length, width.min);
  const bytes = name === 'p' ? cut : Math.floor(cut / HEX_DIGITS);
  const fill = width.fill === 'zero' ? '0' : ' ';
  return padded(print(payload.subarray(0, bytes)), { ...width, fill });
}

const SEQUENCE = /%([-0]*)(\d*)(?:\.(\d+))?([A-Za-z%])|%|@([\s\S])?|\\([\s\S])?|[^%@\\]+/gu;

function pieceOf(match: RegExpMatchArray): Piece {
  const [whole, flags, min, max, name, time, escape] = match;
  if (whole.startsWith('%')) {
    const plain = min === '' && max === undefined && flags === '';
    const other = name === undefined ? undefined : OTHERS.get(name);
    if (other !== undefined && plain) return other;
    const field = name === undefined ? undefined : FIELDS.get(name);
    const isPayload = name !== undefined && PAYLOADS.has(name);
    if (field === undefined && !isPayload) {
      throw invalid(`-F: ${whole} is not a sequence of this format`);
    }
    const width: Width = plain ? NO_WIDTH : {
      min: Number(min), max: max === undefined ? Infinity : Number(max),
      fill: flags.includes('0') ? 'zero' : 'blank', side: flags.includes('-') ? 'left' : 'right',
    };
    if (field === undefined) return ({ payload }) => fittedPayload(payload, width, name);
    return (message, _, options) => {
      const text = field(message, options);
      return text === undefined ? '' : fitted(text, width, name);
    };
  }
  if (whole.startsWith('@')) {
    if (time === undefined) throw invalid('-F: @ at the end');
    if (time === '@') return () => '@';
    if (time === 'N') return (_, when) => nanoseconds(when);
    return (_, when) => strftime(when, `%${time}`);
  }
  if (whole.startsWith('\\')) {
    const character = ESCAPES.get(escape ?? '');
    if (character === undefined) throw invalid(`-F: ${whole} is not an escape of this format`);
    return () => character;
  }
  return () => whole;
}

/** Answers what prints one message. Throws when the format is not one. */
export function compileFormat(
  format: string, options: FormatOptions,
): (message: IncomingMessage, when: Date) => Buffer {
  const pieces = [...format.matchAll(SEQUENCE)].map(pieceOf);
  return (message, when) => Buffer.concat(pieces.map((piece) => {
    const value = piece(message, when, options);
    return typeof value === 'string' ? Buffer.from(value) : value;
  }));
}
