/**
 * The broker's log lines: one line per event, `what happened name=value name="value"`. Values from
 * the wire are quoted, escaped and cut, so that no client can write a line of its own. Passwords
 * and payloads never come here.
 */
import type { BrokerLogger } from './logger.js';

export type LogFields = Readonly<Record<string, string | number | undefined>>;

const VALUE_CHARACTERS_MAX = 128;

export class BrokerLog {
  readonly #logger: BrokerLogger | undefined;
  /** False when nobody would read them: then nothing is put together. */
  readonly wantsInfo: boolean;

  constructor(logger: BrokerLogger | false | undefined) {
    this.#logger = logger === false ? undefined : (logger ?? new StderrLogger());
    this.wantsInfo = this.#logger?.log !== undefined || this.#logger?.info !== undefined;
  }

  info(what: string, fields: LogFields = {}): void {
    if (!this.wantsInfo) return;
    const logger = this.#logger!;
    if (logger.log !== undefined) logger.log(line(what, fields));
    else logger.info!(line(what, fields));
  }

  debug(what: string, fields: LogFields = {}): void {
    if (this.#logger?.debug !== undefined) this.#logger.debug(line(what, fields));
  }

  warn(what: string, fields: LogFields = {}): void {
    this.#logger?.warn(line(what, fields));
  }

  error(what: string, fields: LogFields = {}): void {
    this.#logger?.error(line(what, fields));
  }
}

/** What speaks when the owner gave no logger: only what somebody should look at. */
class StderrLogger implements BrokerLogger {
  warn(message: string): void {
    process.stderr.write(`nidomq warn ${message}\n`);
  }

  error(message: string): void {
    process.stderr.write(`nidomq error ${message}\n`);
  }
}

function line(what: string, fields: LogFields): string {
  let text = what;
  for (const name of Object.keys(fields)) {
    const value = fields[name];
    if (value === undefined) continue;
    text += ` ${name}=${typeof value === 'number' ? value : quoted(value)}`;
  }
  return text;
}

function quoted(value: string): string {
  const cut =
    value.length > VALUE_CHARACTERS_MAX ? `${value.slice(0, VALUE_CHARACTERS_MAX)}...` : value;
  // JSON leaves U+007F to U+009F and the two line separators alone; some terminals and log readers
  // do not.
  return JSON.stringify(cut).replace(/[\u007f-\u009f\u2028\u2029]/g, escaped);
}

function escaped(character: string): string {
  return `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`;
}
