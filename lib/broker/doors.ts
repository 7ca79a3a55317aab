/** The broker's doors: which of them strangers may use, and opening and shutting them together. */
import { isIPv4 } from 'node:net';
import { checkListener, createListener } from '../listener/index.js';
import type { Listener, Refusal, Transport } from '../listener/index.js';
import type { BrokerLog } from './broker-log.js';
import type { ListenerSettings, ResolvedBrokerOptions } from './broker-options.js';
import { nameOf, withDefaults } from './door-names.js';
import { BrokerError, messageOf } from './errors.js';
import { UNMOUNTED } from './mount-point.js';
import { limitsOf, mqttOf } from './options.js';
import type { Door } from './records.js';

export type AcceptAtDoor = (transport: Transport, door: Door) => void;

interface OpenDoor {
  readonly door: Door;
  readonly listener: Listener;
}

export class Doors {
  readonly #open: OpenDoor[] = [];
  readonly #settings: readonly { door: Door; settings: ListenerSettings }[];
  readonly #log: BrokerLog;
  #state: 'usable' | 'shut' = 'usable';

  /** Throws for a door that anybody could use and nobody has allowed. */
  constructor(options: ResolvedBrokerOptions, log: BrokerLog) {
    this.#log = log;
    this.#settings = options.listeners.map((given) => {
      const settings = withDefaults(given);
      return {
        settings,
        door: {
          name: nameOf(settings),
          anonymous: anonymousRule(settings, options),
          mountPoint: settings.mountPoint ?? UNMOUNTED,
          limits: limitsOf(settings, options),
          mqtt: mqttOf(settings, options),
          durability: settings.durability,
        },
      };
    });
  }

  /** There are more authenticators than there were. */
  guardsChanged(options: ResolvedBrokerOptions): void {
    for (const { door, settings } of this.#settings) {
      door.anonymous = anonymousRule(settings, options);
    }
  }

  get listeners(): readonly Listener[] {
    return this.#open.map(({ listener }) => listener);
  }

  /** Opens all, or none: when one fails the others are shut again. */
  async open(
    accept: AcceptAtDoor,
    opened: (door: Door, listener: Listener) => void,
  ): Promise<void> {
    try {
      for (const { door, settings } of this.#settings) {
        const listener = createListener(settings, {
          peerRefused: (refusal) => this.#refused(refusal, door),
          listenerFailed: (error) =>
            this.#log.error('listener failed', { listener: door.name, error: messageOf(error) }),
        });
        await listener.start((transport) => accept(transport, door));
        this.#open.push({ door, listener });
        if (this.#state === 'shut') {
          throw new BrokerError('NIDO_BROKER_CLOSED', 'close() was called while the doors opened');
        }
        opened(door, listener);
      }
    } catch (error) {
      await this.#stopAll(0);
      throw error;
    }
  }

  /** For good. */
  async shut(deadlineMs: number): Promise<void> {
    this.#state = 'shut';
    await this.#stopAll(deadlineMs);
  }

  async #stopAll(deadlineMs: number): Promise<void> {
    await Promise.all(
      this.#open.splice(0).map(async ({ listener }) => {
        await listener.stop(deadlineMs);
        this.#log.info('listener closed', { address: listener.address });
      }),
    );
  }

  /** Reads certificates and keys of every door again. */
  async reload(): Promise<void> {
    await Promise.all(this.#open.map(({ listener }) => listener.reload()));
  }

  #refused(refusal: Refusal, door: Door): void {
    this.#log.info('peer refused', {
      listener: door.name,
      address: `${refusal.remoteAddress}:${refusal.remotePort}`,
      reason: refusal.reason,
      detail: refusal.detail,
    });
  }
}

/** What is wrong with each door, without opening any: position in the list, and the error. */
export async function doorProblems(
  listeners: readonly ListenerSettings[],
): Promise<{ readonly at: number; readonly error: unknown }[]> {
  const problems: { at: number; error: unknown }[] = [];
  for (const [at, settings] of listeners.entries()) {
    await checkListener(withDefaults(settings)).catch((error: unknown) => {
      problems.push({ at, error });
    });
  }
  return problems;
}

export function anonymousRule(
  settings: ListenerSettings,
  options: ResolvedBrokerOptions,
): Door['anonymous'] {
  const explicit = settings.allowAnonymous ?? options.allowAnonymous;
  if (explicit !== undefined) return explicit ? 'allowed' : 'refused';
  if (options.authentication.length + options.enhancedAuthentication.length > 0) return 'refused';
  if (isLocal(settings)) return 'allowed';
  throw new BrokerError(
    'NIDO_LISTENER_OPEN',
    `listener ${nameOf(settings)} could be used by everybody who reaches it, and there is no ` +
      'authentication. Either give the broker an authenticator (option authentication), or say ' +
      'allowAnonymous: true for this listener if that is what you want. Listeners on 127.0.0.1, ' +
      '::1 and unix sockets need neither, unless they stand behind a proxy (proxyProtocol)',
  );
}

/** Only this machine can come in: not so behind a proxy, whose clients are anywhere. */
function isLocal(settings: ListenerSettings): boolean {
  if (settings.proxyProtocol !== undefined) return false;
  if (settings.path !== undefined) return true;
  const { host = '' } = settings;
  return host === 'localhost' || host === '::1' || (isIPv4(host) && host.startsWith('127.'));
}
