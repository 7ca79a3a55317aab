// The load of bench/nest.mjs: one publisher that keeps an application saturated, or publishes at a
// steady pace. It is never more than `credit` messages ahead of what the application has handled,
// so that nothing is lost at QoS 0, and at QoS 1 never more than `window` ahead of its PUBACKs.
import { PROGRESS, templates } from './nest-messages.mjs';
import { PUBACK } from './packets.mjs';
import { Peer } from './peer.mjs';

const WRITE_MESSAGES_MAX = 500;
const PACKET_IDS = 65_535;

export class NestPublisher {
  #peer;
  #templates;
  #sent = 0;
  #acknowledged = 0;
  #handled = 0;
  #limit = 0;

  constructor({ port, qos, credit, window, onClose }) {
    Object.assign(this, { qos, credit, window });
    this.#peer = new Peer({ port, clientId: 'load', version: 4 });
    this.#templates = templates({ qos, version: 4 });
    this.onClose = onClose;
  }

  async connect() {
    await this.#peer.connect();
    this.#peer.onClose = this.onClose;
    this.#peer.onPacket = (type) => {
      if (type === PUBACK) this.#acknowledged += 1;
      else this.onClose(new Error(`the load generator got a packet of type ${type}`));
    };
    this.#peer.onChunkEnd = () => this.#topUp();
  }

  /** The application has handled so many bytes' worth of messages more. */
  progressed(bytes) {
    this.#handled += bytes * PROGRESS;
    this.#topUp();
  }

  /** Publishes so many more, as fast as they are handled. */
  saturate(count) {
    this.#limit = this.#sent + count;
    this.#topUp();
  }

  /** Publishes so many more at `rate` per second: what is due goes every millisecond. */
  async pace(count, rate) {
    const end = this.#sent + count;
    const from = this.#sent;
    const start = performance.now();
    while (this.#sent < end) {
      await new Promise((resolve) => setTimeout(resolve, 1));
      const due = from + Math.floor((performance.now() - start) * rate / 1000);
      if (Math.min(due, end) > this.#sent) this.#send(Math.min(due, end) - this.#sent);
    }
    this.#limit = this.#sent;
  }

  close() {
    this.onClose = () => undefined;
    this.#peer.onClose = () => undefined;
    this.#peer.destroy();
  }

  #topUp() {
    for (;;) {
      const ahead = this.credit - (this.#sent - this.#handled);
      const open = this.qos === 0 ? ahead : this.window - (this.#sent - this.#acknowledged);
      const some = Math.min(ahead, open, this.#limit - this.#sent, WRITE_MESSAGES_MAX);
      if (some <= 0) return;
      this.#send(some);
    }
  }

  #send(count) {
    const packets = [];
    for (let i = 0; i < count; i += 1) {
      const template = this.#templates[this.#sent % this.#templates.length];
      this.#sent += 1;
      packets.push(template.bytes);
    }
    const bytes = Buffer.concat(packets);
    if (this.qos > 0) this.#stamp(bytes, packets);
    this.#peer.send(bytes);
  }

  #stamp(bytes, packets) {
    const { idAt } = this.#templates[0];
    let at = 0;
    for (const [i, packet] of packets.entries()) {
      const packetId = (this.#sent - packets.length + i) % PACKET_IDS + 1;
      bytes.writeUInt16BE(packetId, at + idAt);
      at += packet.length;
    }
  }
}
