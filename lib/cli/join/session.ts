/** One run of pub or sub: connected, at work, and how it ends. */
import { NidoClientError, connect } from '../../client/index.js';
import type { ClientOptions, EndOptions, NidoClient } from '../../client/index.js';
import { CommandEnded, EXIT_FAILED, EXIT_INTERRUPTED, EXIT_USAGE } from '../cli-error.js';
import type { CliOutput } from '../output.js';
import type { FlagValues } from './flags.js';
import type { PropertySets } from './properties.js';

/** What mosquitto_sub says with `-W`: MOSQ_ERR_TIMEOUT. */
export const EXIT_TIMEOUT = 27;

/** CONNACK return codes of MQTT 3.x: scripts of mosquitto's users know them as exit codes. */
const RETURN_CODES = new Map([[0x84, 1], [0x85, 2], [0x88, 3], [0x86, 4], [0x87, 5]]);

export class Session {
  readonly #quiet: boolean;
  #interrupt: ((status: number) => void) | undefined;

  /** Of DISCONNECT, however the run ends. */
  readonly #goodbye: EndOptions['properties'];

  constructor(private readonly output: CliOutput, said: FlagValues, properties: PropertySets) {
    this.#goodbye = properties.of('disconnect');
    this.#quiet = said.has('--quiet');
    this.#debug = said.has('-d');
  }
  readonly #debug: boolean;

  complain(message: string): void {
    if (!this.#quiet) this.output.errorLine(`Error: ${message}`);
  }

  /**
   * Connects and works. A server that refuses, or is not there at first, ends it; one that goes
   * away later is waited for.
   */
  async run(options: ClientOptions, work: (client: NidoClient) => Promise<void>): Promise<void> {
    const client = connect(options);
    this.#tell(client);
    const interrupted = new Promise<never>((_, reject) => {
      this.#interrupt = (status) => reject(new CommandEnded(status));
    });
    const interrupt = (): void => this.#interrupt?.(EXIT_INTERRUPTED);
    process.once('SIGINT', interrupt).once('SIGTERM', interrupt);
    const failed = new Promise<never>((_, reject) => {
      client.once('error', reject);
      client.once('connect', () => client.off('error', reject));
      client.on('error', (error) => { if (client.status === 'closed') reject(error); });
    });
    try {
      await Promise.race([work(client), failed, interrupted]);
      await this.end(client);
    } catch (error) {
      await client.end({ deadlineMs: 0, properties: this.#goodbye });
      throw this.#ended(error, client);
    } finally {
      process.off('SIGINT', interrupt).off('SIGTERM', interrupt);
    }
  }

  /** At once nothing is begun any more; what is at work is waited for. */
  end(client: NidoClient): Promise<void> {
    return client.end({ properties: this.#goodbye });
  }

  #ended(error: unknown, client: NidoClient): unknown {
    if (!(error instanceof NidoClientError)) return error;
    this.complain(error.message);
    const { code, reasonCode } = error;
    if (code.endsWith('_INVALID')) return new CommandEnded(EXIT_USAGE);
    if (code !== 'NIDO_CLIENT_REFUSED' || reasonCode === undefined) {
      return new CommandEnded(EXIT_FAILED);
    }
    const isOld = client.protocolVersion !== 5;
    return new CommandEnded(isOld ? RETURN_CODES.get(reasonCode) ?? EXIT_FAILED : reasonCode);
  }

  #tell(client: NidoClient): void {
    if (!this.#debug) return;
    const say = (text: string): void => this.output.errorLine(text);
    client.on('connect', ({ server, clientIdentifier, sessionPresent }) => {
      const session = sessionPresent ? ', session present' : '';
      say(`connected to ${server} as ${clientIdentifier}${session}`);
    });
    client.on('reconnect', ({ server, attempt }) =>
      say(`connecting to ${server}, attempt ${attempt}`));
    client.on('close', (error) => say(`connection closed${error ? `: ${error.message}` : ''}`));
    client.on('dropped', ({ topicName, reason }) => say(`dropped ${topicName}: ${reason}`));
  }
}
