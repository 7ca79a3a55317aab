/** `order: 'topic'`: the messages of one topic one after the other, those of others meanwhile. */

export class TopicOrder {
  /** The last work of each topic that has any. */
  readonly #last = new Map<string, Promise<unknown>>();

  run(topicName: string, work: () => unknown): unknown {
    const before = this.#last.get(topicName);
    const mine = before === undefined ? Promise.resolve(work()) : before.then(work, work);
    this.#last.set(topicName, mine);
    const leave = (): void => {
      if (this.#last.get(topicName) === mine) this.#last.delete(topicName);
    };
    mine.then(leave, leave);
    return mine;
  }
}
