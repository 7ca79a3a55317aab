/** Which server is next: those of the options in turn, or where a server has sent us. */
import { NidoClientError } from './errors.js';
import type { ResolvedOptions } from './resolve-options.js';
import { SERVER_MOVED } from './reason-names.js';
import { makeTarget, parseServerReference } from './server-target.js';
import type { ServerTarget } from './server-target.js';

/** References that follow each other before we return to the servers of the options. */
const REFERENCES_MAX = 8;

interface Refusal {
  readonly server: string;
  readonly error: NidoClientError;
}

interface Place {
  readonly target: ServerTarget;
  /** Which server of the options this is, or has taken the place of. */
  readonly origin: number;
  /** Its last word when that was a refusal for good; several when it sent us to others. */
  refusals: readonly Refusal[];
}

export class TargetList {
  #places: readonly Place[];
  /** Where the last Server Reference pointed; tried before the other places. */
  #referred: ServerTarget[] = [];
  /** Those of the last Server Reference; undefined when one of them may yet take us. */
  #referredRefusals: Refusal[] | undefined;
  #references = 0;
  #at = 0;
  /** The Server Reference is newer than the last attempt. */
  #fresh = false;

  constructor(private readonly options: ResolvedOptions) {
    this.#places = options.targets.map((target, origin) => place(target, origin));
  }

  get current(): ServerTarget {
    return this.#referred[0] ?? this.#places[this.#at].target;
  }
  /** The current one was named by another server, and has not been tried. */
  get isFresh(): boolean {
    return this.#fresh;
  }

  /**
   * What came of the current server: it has refused us for good, or it may yet take us. An error
   * when they all have refused: nobody is left.
   */
  heard(refused?: NidoClientError): NidoClientError | undefined {
    if (this.#fresh) return undefined; // what it said is where to go
    const here = this.#places[this.#at];
    const refusals = refused === undefined ? undefined
      : [{ server: this.current.name, error: refused }];
    if (this.#referred.length === 0) {
      here.refusals = refusals ?? [];
    } else {
      this.#referredRefusals = refusals && this.#referredRefusals?.concat(refusals);
      const isLast = this.#referred.length === 1;
      here.refusals = isLast ? this.#referredRefusals ?? [] : [];
    }
    return this.#places.every((one) => one.refusals.length > 0)
      ? together(this.#places.flatMap((one) => one.refusals)) : undefined;
  }

  /** Goes on to the next; true when a round through all of them is over. */
  next(): boolean {
    if (this.#fresh) {
      this.#fresh = false;
      return false;
    }
    const wasReferred = this.#referred.shift() !== undefined;
    if (this.#referred.length > 0) return false;
    if (wasReferred && this.#places[this.#at].refusals.length === 0) {
      return this.#places.length === 1; // back to who sent us
    }
    this.#at = (this.#at + 1) % this.#places.length;
    return this.#at === 0;
  }

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
      this.#move(found);
    } else {
      this.#places[this.#at].refusals = [];
      this.#referred = found;
      this.#referredRefusals = [];
    }
  }

  /** For good; the other servers of the options are where they were. */
  #move(found: readonly ServerTarget[]): void {
    const { origin } = this.#places[this.#at];
    const before = this.#places.filter((one) => one.origin < origin);
    const after = this.#places.filter((one) => one.origin > origin);
    this.#places = [...before, ...found.map((target) => place(target, origin)), ...after];
    this.#at = before.length;
    this.#referred = [];
  }

  /** Connected: whatever was refused before may be taken now. */
  succeeded(): void {
    this.#references = 0;
    this.#referredRefusals = this.#referredRefusals && [];
    for (const one of this.#places) one.refusals = [];
  }
}

function place(target: ServerTarget, origin: number): Place {
  return { target, origin, refusals: [] };
}

/** One error for what every server has said. */
function together(refusals: readonly Refusal[]): NidoClientError {
  const { error: last } = refusals[refusals.length - 1];
  if (refusals.length === 1) return last;
  const said = refusals.map(({ server, error: { message } }) =>
    (message.startsWith(server) ? message : `${server}: ${message}`));
  return new NidoClientError(last.code,
    `none of ${refusals.length} servers takes this client: ${said.join('; ')}`, {
      reasonCode: last.reasonCode,
      cause: new AggregateError(refusals.map(({ error }) => error), said.join('; ')),
    });
}
