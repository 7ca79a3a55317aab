/** `nidomq pub`: publishes like mosquitto_pub, with its flags. */
import type { RegisterCommand } from '../command.js';
import { publishCommand } from '../join/publish.js';

export const registerPub: RegisterCommand = (program, output) => {
  program
    .command('pub')
    .description('publish messages, with the flags of mosquitto_pub (`nidomq pub --help`)')
    .argument('[flags...]', 'see `nidomq pub --help`')
    .helpOption(false)
    .allowUnknownOption()
    .passThroughOptions()
    .action(async (words: string[]) => publishCommand(words, output));
};
