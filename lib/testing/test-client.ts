/** A real MQTT client whose socket is a pair in memory, with a wire that a test can cut. */
import { NidoClient } from '../client/index.js';
import type { ClientOptions, IncomingMessage, SubscribeOptions } from '../client/index.js';
import { Inbox } from './inbox.js';
import { asSocket } from './memory-socket.js';
import type { MemorySocket } from './memory-socket.js';

/** `nidomq/client` without where to connect to. */
export type TestClientOptions = Omit<
  ClientOptions, 'protocol' | 'host' | 'hostname' | 'port' | 'path' | 'servers' | 'createSocket'
>;

export class TestClient extends NidoClient {
  readonly #wire: Wire;

  /** Made by `TestBroker.connect`. */
  constructor(wire: Wire, options: TestClientOptions) {
    super({
      // A test says when time goes by: the client must not ping by a clock of its own.
      keepalive: 0,
      reconnectPeriod: 0,
      protocolVersion: 5,
      logger: false,
      ...options,
      host: 'memory',
      manualConnect: true,
      createSocket: () => asSocket(wire.plug()),
    });
    this.#wire = wire;
  }

  /** Subscribes, and collects what comes. */
  async collect(topicFilter: string, options: SubscribeOptions = {}): Promise<Inbox> {
    const inbox = new Inbox();
    await this.subscribe(
      topicFilter,
      (message: IncomingMessage) => inbox.add(message),
      { qos: 2, ...options },
    );
    return inbox;
  }

  /** The wire breaks: the broker publishes the will, nobody says goodbye. */
  cut(): void {
    this.#wire.socket?.destroy();
  }

  /** Reads nothing any more, as a process that was stopped; its connection stays. */
  freeze(): void {
    this.#wire.socket?.freeze();
  }

  /** Reads on. */
  thaw(): void {
    this.#wire.socket?.thaw();
  }
}

/** Where a client plugs in, at every attempt to connect. */
export class Wire {
  socket: MemorySocket | undefined = undefined;
  readonly #plug: () => MemorySocket;

  constructor(plug: () => MemorySocket) {
    this.#plug = plug;
  }

  plug(): MemorySocket {
    this.socket = this.#plug();
    return this.socket;
  }
}
