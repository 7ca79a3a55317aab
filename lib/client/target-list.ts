/** Which server is next: those of the options in turn, or where a server has sent us. */
import type { ResolvedOptions } from './resolve-options.js';
import { SERVER_MOVED } from './reason-names.js';
import { makeTarget, parseServerReference } from './server-target.js';
import type { ServerTarget } from './server-target.js';

/** References that follow each other before we return to the servers of the options. */
const REFERENCES_MAX = 8;

export class TargetList {
  #configured: readonly ServerTarget[];
  /** Where the last Server Reference pointed; tried before the configured ones. */
  #referred: ServerTarget[] = [];
  #references = 0;
  #at = 0;

  constructor(private readonly options: ResolvedOptions) {
    this.#configured = options.targets;
  }

  get current(): ServerTarget {
    return this.#referred[0] ?? this.#configured[this.#at];
  }

  /** Goes on to the next; true when a round through all of them is over. */
  next(): boolean {
    if (this.#fresh) {
      this.#fresh = false;
      return false;
    }
    if (this.#referred.length > 0) {
      this.#referred.shift();
      return this.#referred.length === 0 && this.#configured.length === 1;
    }
    this.#at = (this.#at + 1) % this.#configured.length;
    return this.#at === 0;
  }
  #fresh = false;

  /** CONNACK or DISCONNECT names other servers. */
  follow(packet: { readonly reasonCode: number; readonly serverReference?: string }): void {
    if (this.options.serverReference === 'ignore' || this.#references >= REFERENCES_MAX) return;
    const from = this.current.address;
    const found = parseServerReference(packet.serverReference ?? '', from)
      .map((address) => makeTarget(address, this.options));
    if (found.length === 0) return;
    this.#references += 1;
    this.#fresh = true;
    if (packet.reasonCode === SERVER_MOVED) {
      this.#configured = found;
      this.#at = 0;
      this.#referred = [];
    } else {
      this.#referred = found;
    }
  }

  succeeded(): void {
    this.#references = 0;
  }
}
