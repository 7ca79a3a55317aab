// Runs a schematic of dist/ on a tree in memory, as Nest's command line does: factories are loaded
// by Node's own require(), which jest replaces in its processes. Question on stdin, answer on
// stdout, both JSON.
import { createRequire } from 'node:module';
import { text } from 'node:stream/consumers';

const require = createRequire(import.meta.url);
const { HostTree } = require('@angular-devkit/schematics');
const { SchematicTestRunner, UnitTestTree } = require('@angular-devkit/schematics/testing');

const { schematic, options, files } = JSON.parse(await text(process.stdin));
const runner = new SchematicTestRunner('nidomq', require.resolve('../../dist/schematics/collection.json'));
const log = [];
runner.logger.subscribe(({ level, message }) => log.push(`${level} ${message}`));
const before = new UnitTestTree(new HostTree());
for (const [path, content] of Object.entries(files)) before.create(path, content);
const after = await runner.runSchematic(schematic, options, before);
console.log(JSON.stringify({
  files: Object.fromEntries(after.files.map((path) => [path.slice(1), after.readContent(path)])),
  tasks: runner.tasks,
  log,
}));
