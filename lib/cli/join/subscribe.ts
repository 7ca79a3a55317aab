/** What `nidomq sub` does. */
import type { IncomingMessage, NidoClient, SubscribeOptions } from '../../client/index.js';
import { parseTopicFilter } from '../../client/topic-filter.js';
import { TopicMatcher } from '../../core/topic-matcher.js';
import type { CliOutput } from '../output.js';
import { CommandEnded } from '../cli-error.js';
import {
  CONNECTION_FLAGS, FOREIGN_FLAGS, TLS_FLAGS, WILL_FLAGS, connectionOf, flag,
} from './connection-flags.js';
import type { Flag, FlagValues } from './flags.js';
import { helpOf, invalid, parseFlags } from './flags.js';
import { compileFormat } from './format.js';
import { readProperties } from './properties.js';
import { EXIT_TIMEOUT, Session } from './session.js';

const MESSAGE_FLAGS: readonly Flag[] = [
  flag(['-t', '--topic'], ['filter'], 'Topic Filter; may be repeated'),
  flag(['-T', '--filter-out'], ['filter'], 'print nothing that matches it; may be repeated'),
  flag(['-U', '--unsubscribe'], ['filter'], 'unsubscribe (a session that stayed, -c)'),
  { names: ['-q', '--qos'], values: ['qos'], help: 'of the subscriptions: 0 (default), 1 or 2' },
  { names: ['-v', '--verbose'], values: [], help: 'print the topic before the payload' },
  { names: ['-F', '--format'], values: ['format'],
    help: 'output: %t %p %x %X %q %r %l %m %A %C %D %E %F %P %R %S %I %U %j %J @H \\n ...' },
  { names: ['--pretty'], values: [], help: '%j and %J over several lines' },
  { names: ['-N'], values: [], help: 'no end of line after a message' },
  { names: ['-C'], values: ['messages'], help: 'end after so many' },
  { names: ['-W'], values: ['seconds'], help: 'end after so long, with exit status 27' },
  { names: ['-E'], values: [], help: 'end when the server has subscribed' },
  { names: ['-R'], values: [], help: 'print no retained messages' },
  { names: ['--retained-only'], values: [], help: 'end with the first that is not retained' },
  { names: ['--remove-retained'], values: [], help: 'clear what is printed and retained' },
  { names: ['--random-filter'], values: ['percent'], help: 'print about so many of a hundred' },
  { names: ['--no-local'], values: [], help: 'nothing that this client published (MQTT 5)' },
  { names: ['--retain-as-published'], values: [], help: 'keep the RETAIN flag (MQTT 5)' },
  { names: ['--help'], values: [], help: 'this' },
];
const GROUPS = [MESSAGE_FLAGS, CONNECTION_FLAGS, WILL_FLAGS, TLS_FLAGS];
const USAGE = 'nidomq sub [-h host] [-p port] -t filter [-t ...] [-v | -F format] [-C n] [-W s]';
const ABOUT = 'Prints messages byte for byte, each with an end of line.\n'
  + 'Exit status: 0 done, 27 the time of -W is over, 1 failed, 2 asked wrongly, 130 interrupted,\n'
  + 'else the code with which the server refused.';

export async function subscribeCommand(words: readonly string[], output: CliOutput): Promise<void> {
  const said = parseFlags(words, GROUPS.flat(), FOREIGN_FLAGS);
  if (said.has('--help')) {
    output.line(helpOf(USAGE, ABOUT, GROUPS));
    return;
  }
  const properties = readProperties(said.all('-D'));
  const { options, urlTopic } = connectionOf(said, properties);
  const filters = [...said.texts('-t'), ...urlTopic === undefined ? [] : [urlTopic]];
  const unsubscribe = said.texts('-U');
  if (filters.length === 0 && unsubscribe.length === 0) throw invalid('no Topic Filter: -t');
  const subscribing = subscribingOf(said, properties.of('subscribe'));
  const session = new Session(output, said, properties);
  const printer = new Printer(said, session);
  await session.run(options, async (client) => {
    const over = new Promise<void>((resolve) => {
      // Within the last message: what comes behind it is not begun, and the server keeps it.
      printer.over = () => {
        session.end(client).catch(() => undefined); // `run` ends it again, and tells
        resolve();
      };
    });
    const timeout = printer.timeout();
    const subscribed = filters.map((filter) => client.subscribe(
      filter, (message) => printer.take(client, message), subscribing));
    const all = Promise.all([
      ...subscribed,
      ...unsubscribe.map((filter) => client.unsubscribe(filter, {
        properties: properties.of('unsubscribe'),
      })),
    ]);
    try {
      if (said.has('-E') || filters.length === 0) await Promise.race([all, timeout.late]);
      else await Promise.race([all.then(() => over), over, timeout.late]);
    } finally {
      timeout.cancel();
    }
  });
}

function subscribingOf(said: FlagValues, properties: object): SubscribeOptions {
  return {
    qos: (said.number('-q', 0, 2) ?? 0) as 0 | 1 | 2,
    nl: said.has('--no-local') ? true : undefined,
    rap: said.has('--retain-as-published') ? true : undefined,
    properties,
    concurrency: 1, // printed in the order in which they come
    handlerTimeoutMs: 0, // whoever reads our output may take as long as they like
  };
}

/** Prints what it is given, until there is enough of it. */
class Printer {
  over: () => void = () => {};
  readonly #print: (message: IncomingMessage, when: Date) => Buffer;
  readonly #out: TopicMatcher | undefined;
  #left: number;
  readonly #timeoutMs: number | undefined;
  readonly #share: number;
  readonly #retained: 'print' | 'skip' | 'only';
  readonly #cleans: boolean;

  constructor(said: FlagValues, session: Session) {
    this.#print = printerOf(said, session);
    const out = said.texts('-T');
    if (out.length > 0) {
      this.#out = new TopicMatcher();
      for (const filter of out) this.#out.add(checked(filter));
    }
    this.#left = said.number('-C', 1, Number.MAX_SAFE_INTEGER) ?? Infinity;
    const seconds = said.seconds('-W', 0.001);
    this.#timeoutMs = seconds === undefined ? undefined : seconds * 1000;
    this.#share = (said.percent('--random-filter', 0.1) ?? 100) / 100;
    said.oneOf(['-R', '--retained-only']);
    this.#retained = said.has('--retained-only') ? 'only' : said.has('-R') ? 'skip' : 'print';
    this.#cleans = said.has('--remove-retained');
  }

  timeout(): { late: Promise<never>; cancel: () => void } {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      if (this.#timeoutMs === undefined) return;
      timer = setTimeout(() => reject(new CommandEnded(EXIT_TIMEOUT)), this.#timeoutMs);
    });
    return { late, cancel: () => clearTimeout(timer) };
  }

  /** What it answers is waited for before the message is acknowledged. */
  take(client: NidoClient, message: IncomingMessage): unknown {
    if (this.#retained === 'only' && !message.retain) {
      this.over();
      return undefined;
    }
    if (this.#retained === 'skip' && message.retain) return undefined;
    if (this.#out !== undefined && this.#out.match(message.topicName).length > 0) return undefined;
    if (this.#share < 1 && Math.random() >= this.#share) return undefined;
    if (this.#cleans && message.retain) {
      void client.publish(message.topicName, '', { qos: 1, retain: true });
    }
    const flows = process.stdout.write(this.#print(message, new Date()));
    this.#left -= 1;
    if (this.#left === 0) this.over();
    if (flows) return undefined;
    return new Promise<void>((resolve) => { process.stdout.once('drain', () => resolve()); });
  }
}

function checked(filter: string): string {
  try {
    parseTopicFilter(filter);
    return filter;
  } catch (cause) {
    throw invalid(`-T: ${(cause as Error).message}`);
  }
}

const NEWLINE = Buffer.from('\n');
const NOTHING = Buffer.alloc(0);

function printerOf(
  said: FlagValues, session: Session,
): (message: IncomingMessage, when: Date) => Buffer {
  const end = said.has('-N') ? NOTHING : NEWLINE;
  const format = said.text('-F');
  if (format !== undefined) {
    const print = compileFormat(format, {
      pretty: said.has('--pretty'),
      subscriptionIdentifiers: said.all('-D').some(([, name]) => name === 'subscription-identifier')
        ? 'asked' : 'own',
      complain: (message) => session.complain(message),
    });
    return (message, when) => Buffer.concat([print(message, when), end]);
  }
  const isVerbose = said.has('-v');
  return ({ topicName, payload }) => {
    if (payload.length === 0) { // as mosquitto_sub has it
      return isVerbose && end.length > 0 ? Buffer.from(`${topicName} (null)\n`) : NOTHING;
    }
    return Buffer.concat([Buffer.from(isVerbose ? `${topicName} ` : ''), payload, end]);
  };
}
