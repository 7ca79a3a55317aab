/**
 * What linear memory is spent on. Every class has a budget of its own, so that a flood of one kind
 * (retained messages, subscriptions, a frozen receiver's slabs) is refused with a reason and cannot
 * starve the others.
 */
export const MEMORY_RECORD: u32 = 0; // connections, sessions, acknowledgement holds
export const MEMORY_SLAB: u32 = 1; // bytes on their way to a socket
export const MEMORY_MESSAGE: u32 = 2; // message blocks and the queue entries that point to them
export const MEMORY_RETAINED: u32 = 3; // retained messages and their trie
export const MEMORY_INDEX: u32 = 4; // subscriptions, interned topics, match results
export const MEMORY_CARRY: u32 = 5; // packets that have not arrived in full
export const MEMORY_CLASSES: u32 = 6;
