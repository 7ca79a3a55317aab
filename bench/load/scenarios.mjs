// The scenarios, their bars, and what is the figure of each.
// `ratioMax`: at most so many times mosquitto's figure of the same run. `max`: at most so much.

const PAIRS = { kind: 'flow', layout: 'pairs', figure: 'usPerMessage' };
const HUNDRED = { ...PAIRS, pubs: 100, size: 64, credit: 200, window: 20 };
const FAN_OUT = {
  kind: 'flow', layout: 'fanout', figure: 'usPerMessage', pubs: 1, subs: 1000, size: 64,
};
const FAN_IN = { kind: 'flow', layout: 'fanin', figure: 'usPerMessage', pubs: 100, size: 64 };
const PACED = {
  kind: 'flow', layout: 'pairs', figure: 'p50Us', pubs: 10, size: 64, credit: 1000, window: 1000,
  perSecond: 2000,
  // A broker that makes its code fast while it runs needs some messages before it is warm.
  settings: { warmUpSeconds: 2 },
};

export const SCENARIOS = [
  { name: 'pairs-16B-q0', ...PAIRS, pubs: 10, size: 16, qos: 0, credit: 1000, ratioMax: 1 / 50 },
  { name: 'pairs-64B-q0', ...HUNDRED, qos: 0 },
  { name: 'pairs-64B-q1', ...HUNDRED, qos: 1, ratioMax: 1 / 8 },
  { name: 'pairs-64B-q2', ...HUNDRED, qos: 2 },
  { name: 'pairs-1KiB-q0', ...HUNDRED, size: 1024, qos: 0 },
  { name: 'fanout-1000-q0', ...FAN_OUT, qos: 0, credit: 64, ratioMax: 1 / 20 },
  { name: 'fanout-1000-q1', ...FAN_OUT, qos: 1, credit: 20, window: 20 },
  { name: 'fanin-100-q0', ...FAN_IN, qos: 0, credit: 200 },
  { name: 'fanin-100-q1', ...FAN_IN, qos: 1, credit: 100, window: 20 },
  { name: 'one-per-read-q0', ...PAIRS, pubs: 10, size: 16, qos: 0, credit: 1, ratioMax: 1 },
  { name: 'latency-2000-q0', ...PACED, qos: 0, ratioMax: 1.2 },
  { name: 'latency-2000-q1', ...PACED, qos: 1, ratioMax: 1.2 },
  {
    name: 'filters-100k-q0', kind: 'flow', layout: 'filters', figure: 'usPerMessage', pubs: 10,
    subs: 100, filters: 100_000, size: 64, qos: 0, credit: 100,
  },
  {
    name: 'retained-100k', kind: 'retained', figure: 'usPerMessage', count: 100_000, size: 64,
    replays: 10,
  },
  { name: 'offline-100k', kind: 'offline', figure: 'usPerMessage', count: 100_000, size: 64 },
  { name: 'connects', kind: 'connects', figure: 'usPerConnect', count: 5000, slots: 64 },
  {
    name: 'idle', kind: 'idle', figure: 'bytesPerConnection', count: 10_000, slots: 100, max: 7168,
  },
];

/** A tenth of what is counted: shows that everything runs, not how fast it is. */
export function quick(scenario) {
  const { count, filters } = scenario;
  return {
    ...scenario,
    ...(count === undefined ? {} : { count: count / 10 }),
    ...(filters === undefined ? {} : { filters: filters / 10 }),
  };
}
