/** Number types of AssemblyScript, so that the tables of assembly/shared compile here as well. */
declare type u8 = number;
declare type u16 = number;
declare type u32 = number;
declare type i32 = number;
declare type f64 = number;
declare type usize = number;
