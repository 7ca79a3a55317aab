// aedes with aedes-persistence-level: `node aedes-server.mjs FOLDER_WITH_NODE_MODULES DIRECTORY`.
import { createRequire } from 'node:module';
import { createServer } from 'node:net';
import { join } from 'node:path';

const [, , packages, path] = process.argv;
const require = createRequire(join(packages, 'package.json'));
const { Aedes } = require('aedes');
const { ClassicLevel } = require('classic-level');
const persistence = require('aedes-persistence-level');
const aedes = await Aedes.createBroker({ persistence: persistence(new ClassicLevel(path)) });
const server = createServer({ noDelay: true }, aedes.handle);
server.listen(0, '127.0.0.1', () => process.send({ port: server.address().port }));
