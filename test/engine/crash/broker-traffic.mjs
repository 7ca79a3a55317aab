// What the recorded run and its verification both know.

/** QoS of each publisher. */
export const PUBLISHERS = [1, 2, 1, 2];
/** Every so many messages of a publisher are the retained one of its second topic. */
export const RETAINED_EVERY = 10;
