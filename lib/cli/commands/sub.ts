/** `nidomq sub`: subscribes and prints like mosquitto_sub, with its flags. */
import type { RegisterCommand } from '../command.js';
import { subscribeCommand } from '../join/subscribe.js';

export const registerSub: RegisterCommand = (program, output) => {
  program
    .command('sub')
    .description('print messages, with the flags of mosquitto_sub (`nidomq sub --help`)')
    .argument('[flags...]', 'see `nidomq sub --help`')
    .helpOption(false)
    .allowUnknownOption()
    .passThroughOptions()
    .action(async (words: string[]) => subscribeCommand(words, output));
};
