/** From the store of a client back into its core, before the first connection. */
import type { SessionHandle } from '../core/contract.js';
import type { DurableSide } from '../core/durable.js';
import { bufferOf } from '../core/views.js';
import type {
  FoundMessage, LoadVisitor, QueueEntry, SessionRecord,
} from '../engine/index.js';
import { clientLimits } from './client-limits.js';
import { NidoClientError } from './errors.js';
import type { ResolvedOptions } from './resolve-options.js';

/**
 * What the server has of this client, as far as the store knows. `attempted`: a CONNECT may have
 * left, and nothing else; `refused`: it had a session that is not ours.
 */
export type ServerSession = 'none' | 'attempted' | 'established' | 'refused';

/** Of a message that expired while nobody ran: any time that has passed. */
const LONG_AGO = 0.001;

/** Both clocks at one moment: the core's (monotonic) and the wall's. */
export interface Moment {
  readonly core: number;
  readonly wall: number;
}
export function momentOf(): Moment {
  return { core: performance.now(), wall: Date.now() };
}
/** The core's clock starts anew with each process; what is stored has to outlive it. */
export function wallOf(expiresAt: number, now: Moment): number {
  return expiresAt === 0 ? 0 : now.wall + (expiresAt - now.core);
}

export class ClientStoreReader implements LoadVisitor {
  /** 0 = the store is new. */
  sessionId = 0;
  clientIdentifier: string | undefined;
  serverSession: ServerSession = 'none';
  readonly inboundIdentifiers: number[] = [];
  #block = 0;
  #entries = 0;
  #unrestored = 0;
  #lastIdentifier = 0;
  #isForeign = false;
  readonly #now = momentOf();

  constructor(
    private readonly durable: DurableSide, private readonly uplink: SessionHandle,
    private readonly options: ResolvedOptions,
  ) {}

  session(record: SessionRecord): void {
    const server = serverSessionOf(record.attributes);
    if (server === undefined || this.sessionId !== 0) {
      this.#isForeign = true;
      return;
    }
    this.sessionId = record.sessionId;
    this.clientIdentifier = record.clientIdentifier;
    this.serverSession = server;
    this.#lastIdentifier = record.lastPacketIdentifier;
  }
  subscription(): void {
    this.#isForeign = true;
  }
  will(): void {
    this.#isForeign = true;
  }
  retained(): void {
    this.#isForeign = true;
  }
  inbound(_sessionId: number, packetIdentifier: number): void {
    this.inboundIdentifiers.push(packetIdentifier);
    this.#count(this.durable.restoreInbound(this.uplink, packetIdentifier));
  }
  released(_sessionId: number, number: number, packetIdentifier: number): void {
    this.#count(this.durable.restoreReleased(this.uplink, packetIdentifier, number));
  }
  message(message: FoundMessage): void {
    const { expiresAt } = message;
    const { core, wall } = this.#now;
    this.#letGo();
    this.#block = this.durable.restoreMessage(
      message, expiresAt === 0 ? 0 : Math.max(LONG_AGO, core + (expiresAt - wall)),
    );
  }
  queueEntry(entry: QueueEntry): void {
    this.#entries += 1;
    this.#lastIdentifier = entry.packetIdentifier;
    // Messages leave in their order: what is further behind was never sent.
    const state = this.#entries <= this.#inflightMax ? 'maybe-sent' : 'pending';
    this.#count(this.#block !== 0
      && this.durable.restoreEntry(this.uplink, this.#block, entry, 0, state));
  }
  /** Never: everything is told. */
  spilled(): void {}

  /** Throws when this is not the store of this client, or memory is too small for it. */
  finish(): void {
    this.#letGo();
    const { options, clientIdentifier: stored } = this;
    const path = options.engine!.file.path;
    if (this.#isForeign) {
      throw new NidoClientError('NIDO_CLIENT_STORE',
        `engine.file.path: ${path} holds a broker's store, not a client's. Give another one`);
    }
    const asked = options.clientIdentifierIsDefault ? '' : options.clientIdentifier;
    if (stored !== undefined && asked !== '' && asked !== stored) {
      throw new NidoClientError('NIDO_CLIENT_OPTION_INVALID',
        `clientId: ${JSON.stringify(asked)} is asked for, but ${path} (engine.file.path) is the `
        + `store of ${JSON.stringify(stored)}. Give another directory, or that identifier`);
    }
    if (this.#unrestored > 0) {
      throw new NidoClientError('NIDO_CLIENT_STORE', `memoryBytes: ${options.limits.memoryBytes} `
        + `is too little for the ${this.#entries} messages in ${path}. Nothing is lost; give more`);
    }
    if (this.#lastIdentifier === 0) return;
    this.durable.setLastIdentifier(this.uplink, this.#lastIdentifier);
  }

  get #inflightMax(): number {
    return this.options.inflightMax ?? clientLimits.inflightMax;
  }
  #letGo(): void {
    if (this.#block !== 0) this.durable.letGo(this.#block);
    this.#block = 0;
  }
  #count(isRestored: unknown): void {
    if (isRestored !== true) this.#unrestored += 1;
  }
}

/** What is kept of a client beside what a broker keeps of a session. */
export function attributesOf(server: ServerSession): Uint8Array {
  return Buffer.from(JSON.stringify({ role: 'client', server }));
}
function serverSessionOf(attributes: Uint8Array): ServerSession | undefined {
  if (attributes.length === 0) return undefined;
  const { role, server } = JSON.parse(bufferOf(attributes).toString()) as
    { role?: string; server?: ServerSession };
  return role === 'client' ? server : undefined;
}