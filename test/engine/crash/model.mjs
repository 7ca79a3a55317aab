// What must be found after a crash, computed from what the workload said.

/** A small generator with a seed: the same seed, the same run. */
export function random(seed) {
  let state = (seed ^ 0x9e37_79b9) >>> 0;
  return (below) => {
    state = (state + 0x6d2b_79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below;
  };
}

/** Topic and payload follow from the number, so that every byte can be checked. */
export function bodyOf(number) {
  const next = random(number);
  const payload = Buffer.alloc(16 + next(1_000));
  for (let i = 0; i < payload.length; i++) payload[i] = next(256);
  return { topicName: Buffer.from(`topic/${number}`), payload };
}

/** A thing is `queue 5 17` or `retained 3`; its history is what was tried and what was acknowledged, in order. */
export class Model {
  #history = new Map();
  #units = new Map();
  acknowledged = 0;

  read(line) {
    const said = JSON.parse(line);
    if (said['?'] !== undefined) {
      const { id, effects } = said['?'];
      const unit = { effects, isAcknowledged: false };
      this.#units.set(id, unit);
      for (const effect of effects) this.#add(effect, unit);
    } else if (said['!'] !== undefined) {
      this.#units.get(said['!']).isAcknowledged = true;
      this.acknowledged++;
    }
  }
  #add([kind, owner, number], unit) {
    const isRemoval = kind.startsWith('-');
    const name = isRemoval ? kind.slice(1) : kind;
    const key = name === 'retained' ? `${name} ${owner}` : `${name} ${owner} ${number}`;
    if (!this.#history.has(key)) this.#history.set(key, []);
    this.#history.get(key).push({ value: isRemoval ? undefined : number, unit });
  }

  /** Values that a thing may have: the last acknowledged one, or any that was tried after it. */
  allowed(key) {
    const history = this.#history.get(key) ?? [];
    let last = -1;
    history.forEach((step, i) => {
      if (step.unit.isAcknowledged) last = i;
    });
    const values = history.slice(Math.max(last, 0)).map((step) => step.value);
    return last < 0 ? [undefined, ...values] : values;
  }
  keys() {
    return this.#history.keys();
  }
  /** What was found is what happened: the next round starts from there. */
  settle(found) {
    for (const key of this.#history.keys()) {
      const unit = { effects: [], isAcknowledged: true };
      this.#history.set(key, [{ value: found.get(key), unit }]);
    }
    for (const [key, value] of found) {
      if (!this.#history.has(key)) this.#history.set(key, [{ value, unit: { effects: [], isAcknowledged: true } }]);
    }
    this.#units.clear();
  }
  units() {
    return this.#units.values();
  }
}

/** Reads a directory with the engine; answers what is there, as key to value, and what is wrong in itself. */
export async function inspect(api, path) {
  const found = new Map();
  const wrong = [];
  const bodies = new Map();
  const last = new Map();
  const sameBody = (stored, number) => {
    const body = bodyOf(number);
    return Buffer.compare(body.payload, stored.payload) === 0;
  };
  const engine = api.createFileEngine({ path });
  await engine.open();
  try {
    const report = await engine.load({
      session: (record) => found.set(`session ${record.sessionId} 0`, 0),
      subscription() {}, will() {},
      inbound: (sessionId, identifier) => found.set(`inbound ${sessionId} ${identifier}`, identifier),
      released: (sessionId, number) => found.set(`released ${sessionId} ${number}`, number),
      retained(stored) {
        const topic = Buffer.from(stored.topicName).toString().split('/')[1];
        if (!sameBody(stored, stored.number)) wrong.push(`retained ${topic} has the wrong payload`);
        found.set(`retained ${topic}`, stored.number);
      },
      message: (stored) => bodies.set(stored.number, stored),
      queueEntry(entry) {
        const { sessionId, number } = entry;
        const messageNumber = api.messageNumberOf(number);
        if ((last.get(sessionId) ?? 0) >= number) wrong.push(`queue ${sessionId}: ${number} is out of order`);
        last.set(sessionId, number);
        if (!sameBody(bodies.get(messageNumber), messageNumber)) wrong.push(`message ${number} has the wrong payload`);
        found.set(`queue ${sessionId} ${number}`, number);
      },
      spilled: () => wrong.push('a queue spilled'),
    }, { queueMessagesPerSessionMax: 1e9, queueBytesMax: 1e12 });
    for (const loss of report.losses) wrong.push(loss.detail);
    for (const loss of (await engine.check()).losses) wrong.push(`check: ${loss.detail}`);
  } finally {
    await engine.close();
  }
  return { found, wrong };
}

/** What differs between what was found and what may be there. */
export function compare(model, { found, wrong }) {
  const faults = [...wrong];
  const endedAllows = (key) => {
    const [kind, owner] = key.split(' ');
    if (kind === 'retained' || kind === 'session') return false;
    return model.allowed(`session ${owner} 0`).includes(undefined) && !found.has(`session ${owner} 0`);
  };
  for (const key of model.keys()) {
    const value = found.get(key);
    if (!model.allowed(key).includes(value) && !(value === undefined && endedAllows(key))) {
      faults.push(`${key}: found ${value}, allowed ${model.allowed(key).join(' or ')}`);
    }
  }
  for (const key of found.keys()) {
    if (!model.allowed(key).includes(found.get(key))) faults.push(`${key}: nobody stored that`);
  }
  for (const unit of model.units()) {
    const additions = unit.effects.filter(([kind]) => kind === 'queue');
    const there = additions.map(([, owner, number]) => `queue ${owner} ${number}`).filter((key) => {
      return model.allowed(key).includes(undefined) || !endedAllows(key);
    });
    if (unit.isAcknowledged || there.length < 2) continue;
    const removed = there.some((key) => model.allowed(key).filter((value) => value === undefined).length > 1);
    const count = there.filter((key) => found.has(key)).length;
    const ended = there.some((key) => endedAllows(key));
    if (!removed && !ended && count !== 0 && count !== there.length) faults.push(`half a unit: ${there.join(', ')}`);
  }
  return faults;
}
