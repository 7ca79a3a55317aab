// Imported first by the scripts a newcomer runs. It must load on very old versions of Node, so that
// they are told in words what is missing: no import, no syntax younger than ES2015.
const NODE_MAJOR_MIN = 20;
const NODE_MINOR_MIN = 19;

const parts = process.versions.node.split('.').map(Number);
const isNewEnough =
  parts[0] > NODE_MAJOR_MIN || (parts[0] === NODE_MAJOR_MIN && parts[1] >= NODE_MINOR_MIN);

if (!isNewEnough) {
  console.error(
    'nidomq needs Node ' + NODE_MAJOR_MIN + '.' + NODE_MINOR_MIN + ' or newer; this is Node ' +
    process.versions.node + ' (' + process.execPath + ').\n' +
    'Install a newer one from https://nodejs.org, or with a version manager (`nvm install 24`),\n' +
    'and run this again.',
  );
  process.exit(1);
}
