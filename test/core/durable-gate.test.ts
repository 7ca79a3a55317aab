/**
 * docs/adr/0006: what durable sessions get is stored before it is delivered and acknowledged; a
 * queue that has spilled goes on in the store only.
 */
import { describe, expect, it } from '@jest/globals';
import type {
  Append, DurableEntry, DurableEvents, DurableMessage, DurableSide,
} from '../../lib/core/durable.js';
import { build, Lab } from './lab.js';
import type { Peer } from './lab.js';

const NUMBER_STEP = 16; // the numbers between belong to the copies of one message

/** A store that stores when it is told to. */
class Store implements DurableEvents {
  readonly appends: Append[] = [];
  readonly texts: string[] = [];
  readonly log: string[] = [];
  isFull = false;
  private number = 0;

  append(append: Append): number {
    if (this.isFull) return 0;
    this.appends.push(append);
    this.texts.push(append.message?.payload.toString() ?? '');
    this.number += NUMBER_STEP;
    return this.number;
  }
  retained(topicName: Buffer): void {
    this.log.push(`retained ${topicName.toString()}`);
  }
  done(_session: number, number: number, was: 'queued' | 'released'): void {
    this.log.push(`done ${number} ${was}`);
  }
  release(_session: number, packetIdentifier: number, number: number): void {
    this.log.push(`release ${packetIdentifier} ${number}`);
  }
  pubrel(_connection: number, _session: number, packetIdentifier: number): void {
    this.log.push(`pubrel ${packetIdentifier}`);
  }
  moved(
    _from: number, number: number, message: DurableMessage, entry: DurableEntry | undefined,
  ): void {
    const to = entry === undefined ? 'somebody who is not kept' : entry.group.toString();
    this.log.push(`moved ${number} ${message.payload.toString()} by ${to}`);
  }
  ended(): void {
    this.log.push('ended');
  }
}

class DurableLab extends Lab {
  readonly store = new Store();
  readonly side: DurableSide = this.core.closeGate(this.store);

  /** A subscriber whose session is kept. */
  kept(clientId: string, qos: 1 | 2): Peer {
    const peer = this.client(clientId);
    this.side.keep(peer.session);
    peer.subscribe('t', qos);
    return peer;
  }
  commit(at: number): void {
    this.side.commit(this.store.appends[at]!.gate);
    this.side.settle();
    this.settle();
  }
}

describe('a message for a session that is kept', () => {
  it.each([[1, 'PUBACK 1'], [2, 'PUBREC 1']] as const)(
    'with QoS %i is neither delivered nor acknowledged before it is stored', (qos, answer) => {
      const lab = new DurableLab();
      const receiver = lab.kept('receiver', 2);
      const publisher = lab.client('publisher');
      publisher.send(publisher.publish('t', 'a', { qos, packetId: 1 }));
      expect([receiver.words(), publisher.words()]).toEqual([[], []]);
      expect(lab.store.appends[0]!.entries).toMatchObject([{ qos, packetIdentifier: 1 }]);
      lab.commit(0);
      expect([receiver.words(), publisher.words()]).toEqual([['PUBLISH 1 t a'], [answer]]);
    });

  it('reaches those that do not outlive a crash at once', () => {
    const lab = new DurableLab();
    const receiver = lab.kept('receiver', 1);
    const passing = lab.client('passing');
    passing.subscribe('t', 1);
    const publisher = lab.client('publisher');
    publisher.send(publisher.publish('t', 'a', { qos: 1, packetId: 1 }));
    expect([passing.words(), receiver.words()]).toEqual([['PUBLISH 1 t a'], []]);
    lab.commit(0);
    expect(receiver.words()).toEqual(['PUBLISH 1 t a']);
  });

  it('is held for its own receivers only: other topics pass', () => {
    const lab = new DurableLab();
    lab.kept('receiver', 1);
    const [one, two] = [lab.client('one'), lab.client('two')];
    one.send(one.publish('t', 'a', { qos: 1, packetId: 1 }));
    two.send(two.publish('nobody', 'b', { qos: 1, packetId: 1 }));
    expect([one.words(), two.words()]).toEqual([[], ['PUBACK 1 0x10']]);
  });

  it('that cannot be stored reaches nobody who is kept, and its publisher is told', () => {
    const lab = new DurableLab();
    const receiver = lab.kept('receiver', 1);
    lab.store.isFull = true;
    const publisher = lab.client('publisher');
    publisher.send(
      publisher.publish('t', 'a', { qos: 1, packetId: 1 }),
      publisher.publish('t', 'b', { qos: 2, packetId: 2 }),
    );
    expect([receiver.words(), publisher.words()]).toEqual([[], ['PUBACK 1 0x97', 'PUBREC 2 0x97']]);
    lab.store.isFull = false;
    publisher.send(publisher.publish('t', 'b', { qos: 2, packetId: 2, dup: true }));
    lab.commit(0);
    expect([receiver.words(), publisher.words()]).toEqual([['PUBLISH 3 t b'], ['PUBREC 2']]);
  });

  it('comes again after a crash of the line, and joins the copy that is being stored', () => {
    const lab = new DurableLab();
    const receiver = lab.kept('receiver', 1);
    const publisher = lab.client('publisher');
    publisher.send(publisher.publish('t', 'a', { qos: 1, packetId: 1 }));
    publisher.cut();
    const again = lab.client('publisher');
    again.send(again.publish('t', 'a', { qos: 1, packetId: 1, dup: true }));
    expect(lab.store.appends).toHaveLength(1);
    lab.commit(0);
    expect([receiver.words(), again.words()]).toEqual([['PUBLISH 1 t a'], ['PUBACK 1']]);
  });

  it('leaves the store when it is acknowledged', () => {
    const lab = new DurableLab();
    const receiver = lab.kept('receiver', 1);
    const publisher = lab.client('publisher');
    publisher.send(publisher.publish('t', 'a', { qos: 1, packetId: 1 }));
    lab.commit(0);
    expect(lab.store.log).toEqual([]);
    receiver.acknowledge(1);
    expect(lab.store.log).toEqual([`done ${NUMBER_STEP} queued`]);
  });
});

describe('a QoS 2 exchange that is kept', () => {
  it('sends PUBREL when PUBREC is stored, and PUBCOMP when PUBREL is', () => {
    const lab = new DurableLab();
    const receiver = lab.kept('receiver', 2);
    const publisher = lab.client('publisher');
    lab.side.keep(publisher.session);
    publisher.send(publisher.publish('t', 'a', { qos: 2, packetId: 9 }));
    expect(lab.store.appends[0]!.inboundIdentifier).toBe(9);
    lab.commit(0);
    publisher.send(build.pubrel(9));
    expect(publisher.words()).toEqual(['PUBREC 9']);
    lab.side.commitPubrel(lab.core.connectionOf(publisher.session), 9);
    lab.side.settle();
    lab.settle();
    expect(publisher.words()).toEqual(['PUBCOMP 9']);
    receiver.send(build.pubrec(1));
    expect(receiver.words()).toEqual(['PUBLISH 1 t a']);
    lab.side.commitRelease(receiver.session, 1);
    lab.side.settle();
    lab.settle();
    expect(receiver.words()).toEqual(['PUBREL 1']);
    receiver.send(build.pubcomp(1));
    expect(lab.store.log).toEqual([
      'pubrel 9', `release 1 ${NUMBER_STEP}`, `done ${NUMBER_STEP} released`,
    ]);
  });

  it('sends no PUBREL before PUBREC is stored, also when PUBREC or the receiver comes again', () => {
    const lab = new DurableLab();
    const receiver = lab.kept('receiver', 2);
    const publisher = lab.client('publisher');
    publisher.send(publisher.publish('t', 'a', { qos: 2, packetId: 1 }));
    lab.commit(0);
    receiver.send(build.pubrec(1), build.pubrec(1));
    expect(receiver.words()).toEqual(['PUBLISH 1 t a']);
    receiver.cut();
    const again = lab.client('receiver');
    expect(again.words()).toEqual([]);
    lab.side.commitRelease(again.session, 1);
    lab.side.settle();
    lab.settle();
    expect(again.words()).toEqual(['PUBREL 1']);
  });
});

describe('a queue that has spilled', () => {
  it('takes nothing into memory until it is refilled, and then keeps its order', () => {
    const lab = new DurableLab();
    const receiver = lab.kept('receiver', 1);
    const publisher = lab.client('publisher');
    const publish = (text: string, packetId: number) => {
      publisher.send(publisher.publish('t', text, { qos: 1, packetId }));
    };
    publish('in memory', 1);
    lab.commit(0);
    lab.side.spill(receiver.session);
    publish('second', 2);
    publish('third', 3);
    lab.commit(1);
    lab.commit(2);
    expect(publisher.words()).toEqual(['PUBACK 1', 'PUBACK 2', 'PUBACK 3']); // stored is enough
    expect(receiver.words()).toEqual(['PUBLISH 1 t in memory']);
    expect(lab.side.queuedMessages(receiver.session)).toBe(1);
    expect(lab.side.lastQueued(receiver.session)).toBe(NUMBER_STEP);

    refill(lab, receiver, ['second', 'third']);
    publish('fourth', 4);
    lab.commit(3);
    expect(receiver.words())
      .toEqual(['PUBLISH 2 t second', 'PUBLISH 3 t third', 'PUBLISH 4 t fourth']);
  });

  it('loses nothing that was on its way through the gate when it spilled', () => {
    const lab = new DurableLab();
    const receiver = lab.kept('receiver', 1);
    const publisher = lab.client('publisher');
    publisher.send(publisher.publish('t', 'under way', { qos: 1, packetId: 1 }));
    expect(lab.side.gatedEntries(receiver.session)).toBe(1);
    lab.side.spill(receiver.session);
    lab.commit(0);
    expect(lab.side.gatedEntries(receiver.session)).toBe(0);
    expect([receiver.words(), publisher.words()]).toEqual([[], ['PUBACK 1']]);
    refill(lab, receiver, ['under way']);
    expect(receiver.words()).toEqual(['PUBLISH 1 t under way']);
  });
});

/** What the store has of this session comes back into memory, with the identifiers it had. */
function refill(lab: DurableLab, receiver: Peer, texts: readonly string[]): void {
  const { side, store } = lab;
  for (const text of texts) {
    const at = store.texts.indexOf(text);
    const { entries } = store.appends[at]!;
    const message = {
      number: (at + 1) * NUMBER_STEP, body: Buffer.from(`t${text}`), topicLength: 1,
      propertiesLength: 0, qos: 1, retain: false,
    } as const;
    const block = side.restoreMessage(message, 0);
    const [entry] = entries;
    expect(side.restoreEntry(receiver.session, block, entry!, entry!.copy, 'pending')).toBe(true);
    side.letGo(block);
  }
  side.keep(receiver.session);
  side.pump(receiver.session);
  lab.settle();
}

describe('a message of a shared group that is kept', () => {
  function group(maximumPacketSize = 0): { lab: DurableLab; first: Peer; second: Peer } {
    const lab = new DurableLab();
    const first = lab.client('first');
    const second = lab.client('second', { maximumPacketSize });
    for (const member of [first, second]) lab.side.keep(member.session);
    first.subscribe('$share/g/t', 1);
    return { lab, first, second };
  }
  const publishOne = (lab: DurableLab, text: string): void => {
    const publisher = lab.client('publisher');
    publisher.send(publisher.publish('t', text, { qos: 1, packetId: 1 }));
    lab.commit(0);
  };

  it('is told as moved, with its group, before what becomes of it there', () => {
    const { lab, first, second } = group(40);
    publishOne(lab, 'x'.repeat(50));
    second.subscribe('$share/g/t', 1);
    first.cut();
    // It is too large for the other: gone before anybody could look at it there.
    expect(lab.store.log).toEqual([`moved 17 ${'x'.repeat(50)} by $share/g/t`, 'done 17 queued']);
  });

  it('has a number of its own beside the copy that the other member gets anyway', () => {
    const { lab, first, second } = group();
    second.subscribe('t', 1);
    publishOne(lab, 'a');
    expect(lab.store.appends[0]!.entries.map(({ copy }) => copy).sort()).toEqual([0, 1]);
    second.subscribe('$share/g/t', 1);
    first.cut();
    second.acknowledge(1, 2);
    expect(lab.store.log).toEqual(['moved 17 a by $share/g/t', 'done 16 queued', 'done 17 queued']);
  });

  it('goes to a member that is away when the last one ends, and the end is told behind it', () => {
    const { lab, first, second } = group();
    second.subscribe('$share/g/t', 1);
    second.cut();
    publishOne(lab, 'a');
    first.cut();
    expect(lab.store.log).toEqual([]);
    lab.hub.end('first');
    lab.settle();
    expect(lab.store.log).toEqual(['moved 17 a by $share/g/t', 'ended']);
    expect(lab.client('second').words()).toEqual(['PUBLISH 1 t a']);
  });

  it.each(['leaves', 'ends'])('goes to another when its member %s while it is being stored', (how) => {
    const { lab, first, second } = group();
    const publisher = lab.client('publisher');
    publisher.send(publisher.publish('t', 'a', { qos: 1, packetId: 1 }));
    second.subscribe('$share/g/t', 1);
    first.cut();
    if (how === 'ends') lab.hub.end('first');
    lab.settle();
    lab.commit(0);
    expect(second.words()).toEqual(['PUBLISH 1 t a']);
    expect(publisher.words()).toEqual(['PUBACK 1']);
    expect(lab.store.log.filter((line) => line !== 'ended')).toEqual(['moved 17 a by $share/g/t']);
  });

  it('is stored no more once it went to a member that is not kept, whoever gets it next', () => {
    const lab = new DurableLab();
    const first = lab.kept('first', 1);
    first.subscribe('$share/g/t', 1);
    first.send(build.unsubscribe(5, 9, ['t']));
    const publisher = lab.client('publisher');
    publisher.send(publisher.publish('t', 'a', { qos: 1, packetId: 1 }));
    lab.commit(0);
    const second = lab.client('second');
    second.subscribe('$share/g/t', 1);
    first.cut();
    expect(lab.store.log).toEqual(['moved 17 a by somebody who is not kept']);
    const back = lab.client('first');
    second.cut();
    expect(back.words()).toEqual(['PUBLISH 2 t a']);
    back.acknowledge(2);
    expect(lab.store.log).toHaveLength(1);
  });
});
