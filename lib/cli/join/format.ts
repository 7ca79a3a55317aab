/** `-F`: the output formats of mosquitto_sub. Payloads stay bytes. */
import type { IncomingMessage } from '../../client/index.js';
import { invalid } from './flags.js';
import { strftime } from './strftime.js';
import { jsonOf } from './message-json.js';

export interface FormatOptions {
  readonly pretty?: boolean;
  /** Told of a message that cannot be printed as it was asked. */
  readonly complain: (message: string) => void;
}

interface Width {
  readonly min: number;
  readonly max: number;
  readonly fill: 'zero' | 'blank';
  readonly side: 'left' | 'right';
}

type Piece = (message: IncomingMessage, when: Date, options: FormatOptions) => string | Buffer;

const ESCAPES = new Map([
  ['\\', '\\'], ['0', '\0'], ['a', '\x07'], ['e', '\x1b'], ['n', '\n'], ['r', '\r'], ['t', '\t'],
  ['v', '\v'],
]);
const NO_WIDTH: Width = { min: 0, max: Infinity, fill: 'blank', side: 'right' };

/** Parameters that may have a field width. */
const FIELDS = new Map<string, (message: IncomingMessage) => string | Buffer>([
  ['A', () => ''], // a Topic Alias is gone when a message arrives here
  ['C', ({ properties }) => properties.contentType ?? ''],
  ['E', ({ properties }) => optional(properties.messageExpiryInterval)],
  ['F', ({ properties }) => optional(properties.payloadFormatIndicator)],
  ['l', ({ payload }) => `${payload.length}`],
  ['p', ({ payload }) => payload],
  ['R', ({ properties }) => properties.responseTopic ?? ''],
  ['m', () => ''], // nor is the Packet Identifier, and the Subscription Identifiers are ours
  ['S', () => ''],
  ['t', ({ topicName }) => topicName],
  ['x', ({ payload }) => payload.toString('hex')],
  ['X', ({ payload }) => payload.toString('hex').toUpperCase()],
]);
const NUMBERS = new Set(['A', 'E', 'F', 'l', 'S', 'x', 'X']);

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

function fitted(value: string | Buffer, width: Width, name: string): string | Buffer {
  const cut = value.length > width.max ? value.slice(0, width.max) : value;
  const missing = width.min - cut.length;
  if (missing <= 0) return cut;
  const fill = width.fill === 'zero' && width.side === 'right' && NUMBERS.has(name) ? '0' : ' ';
  const padding = fill.repeat(missing);
  if (typeof cut === 'string') return width.side === 'left' ? cut + padding : padding + cut;
  const bytes = Buffer.from(padding);
  return Buffer.concat(width.side === 'left' ? [cut, bytes] : [bytes, cut]);
}

const SEQUENCE = /%([-0]*)(\d*)(?:\.(\d+))?([A-Za-z%])|%|@([\s\S])?|\\([\s\S])?|[^%@\\]+/gu;

function pieceOf(match: RegExpMatchArray): Piece {
  const [whole, flags, min, max, name, time, escape] = match;
  if (whole.startsWith('%')) {
    const plain = min === '' && max === undefined && flags === '';
    const other = name === undefined ? undefined : OTHERS.get(name);
    if (other !== undefined && plain) return other;
    const field = name === undefined ? undefined : FIELDS.get(name);
    if (field === undefined) throw invalid(`-F: ${whole} is not a sequence of this format`);
    const width: Width = plain ? NO_WIDTH : {
      min: Number(min), max: max === undefined ? Infinity : Number(max),
      fill: flags.includes('0') ? 'zero' : 'blank', side: flags.includes('-') ? 'left' : 'right',
    };
    return (message) => fitted(field(message), width, name);
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
