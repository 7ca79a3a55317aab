// The process of the load generator: `node main.mjs '{"target":{...},"scenario":{...}}'` runs one
// scenario against one broker and prints one line of JSON.
import { runConnects, runIdle, runOffline, runRetained } from './count-scenarios.mjs';
import { runFlow } from './flow-scenario.mjs';

const RUN = {
  flow: runFlow, retained: runRetained, offline: runOffline, connects: runConnects, idle: runIdle,
};

const { target, scenario } = JSON.parse(process.argv[2]);
const result = await RUN[scenario.kind](target, scenario);
console.log(JSON.stringify(result));
process.exit(0);
