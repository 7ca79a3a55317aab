/**
 * Where a Transport meets its connection in the core. One small object per connection: it hears the
 * transport, and knows which chunks of linear memory the transport still reads.
 */
import type { Transport, TransportOwner } from '../listener/transport.js';
import type { ConnectionHandle, Pace } from './contract.js';

/** What a port needs of its core. */
export interface PortOwner {
  portData(port: Port, chunk: Uint8Array): void;
  portClosed(port: Port, error?: Error): void;
  /** The transport no longer reads the oldest chunk. */
  portWritten(port: Port, chunk: number): void;
}

export const PORT_OPEN = 0;
/** Closes when everything that is written has been handed to the transport. */
export const PORT_ENDING = 1;
export const PORT_ENDED = 2;
export const PORT_CLOSED = 3;

export class Port implements TransportOwner {
  state = PORT_OPEN;
  /**
   * A packet waits for an answer that did not come at once: reading is paused, bytes are carried.
   */
  parked = false;
  /** Reading is paused because too many messages of this publisher are held. */
  held = false;
  /** What the transport gave while `held` or `behind`: it had it before it heard of the pause. */
  late: Uint8Array[] | undefined = undefined;
  /** The rest of what came was put off, so that others have their turn; more waits in `late`. */
  behind = false;
  /** Reading is paused because this peer came or published faster than it may. */
  slowed = false;
  /** How fast it may publish; undefined = as fast as it can. */
  pace: Pace | undefined = undefined;
  /** PUBLISH packets that its pace was told of. */
  publishes = 0;
  /**
   * Chunks that the transport still reads, oldest first; made with the first write that does not
   * end at once.
   */
  private chunks: number[] | undefined;
  private doneFunction: (() => void) | undefined;

  constructor(
    private readonly owner: PortOwner,
    readonly handle: ConnectionHandle,
    readonly transport: Transport,
  ) {}

  transportData(chunk: Uint8Array): void {
    this.owner.portData(this, chunk);
  }
  transportClosed(error?: Error): void {
    this.owner.portClosed(this, error);
  }

  /** One function per connection serves all its writes: they complete in their order. */
  get done(): () => void {
    return (this.doneFunction ??= () => this.writeDone());
  }
  /** The transport keeps reading `chunk` after `write` returned. */
  stillReads(chunk: number): void {
    (this.chunks ??= []).push(chunk);
  }
  private writeDone(): void {
    const chunk = this.chunks?.shift();
    if (chunk !== undefined && this.state !== PORT_CLOSED) this.owner.portWritten(this, chunk);
  }

  pauseReading(): void {
    if (this.state === PORT_OPEN) this.transport.pause();
  }
  resumeReading(): void {
    if (this.state === PORT_OPEN && !this.parked && !this.held && !this.slowed) {
      this.transport.resume();
    }
  }
}
