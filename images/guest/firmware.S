// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The small guest: a firmware that replaces the BIOS (qemu -bios), used where a Linux would take too
 * long to boot.  It does the same as init.c and prints the same lines.
 *
 * It starts in real mode, switches to flat 32-bit mode and maps the devices that it knows on PCI
 * bus 0.  Then it fills memory from 1 MiB on, BAR 0 of the emulated functions of the harness, and the
 * scratch registers of mtty's ports with a pattern that depends on the round.  Between rounds it halts
 * until the next timer tick.  Code and constants are in the ROM; variables and the stack are in memory
 * below 1 MiB, which QEMU migrates, so that it can be stopped at any instruction.
 *
 * memory_kib, at offset 0xffec of the image, is the size of the memory to dirty: the harness writes it
 * (harness/vm/guest_image.py).
 */
#define COM1 0x3f8              /* linux/serial_reg.h: data 0, line control 3, status 5 */
#define SCRATCH 7               /* UART_SCR */
#define CONFIG 0xcf8            /* PCI configuration mechanism #1; data are 4 further */
#define ENABLE 0x80000000       /* of its address: a slot is 0x800, a register 1 */
#define COMMAND 0x04
#define BAR0 0x10
#define DECODE_IO 0x1
#define DECODE_MEMORY 0x6       /* and master the bus */
#define EMULATED 0x7fd01234     /* device and vendor: harness/vfio/config_space.py */
#define MTTY 0x32534348         /* samples/vfio-mdev/mtty.c */

#define FIRST_BAR 0xc0000000    /* in the PCI hole of q35 and pc, up to the I/O APIC */
#define LAST_BAR 0xfe000000
#define FIRST_PORT 0xc000       /* ports that nothing of q35 or pc has; 0x100 to a slot */
#define MEMORY 0x100000

#define TICK 23864              /* of the timer's 1193182 Hz: 20 ms */
#define TIMER_VECTOR 0x20
#define APIC_SPURIOUS 0xfee000f0 /* the CPU's own interrupt controller; 0x100: it is on */
#define APIC_LINT0 0xfee00350   /* where the 8259 comes in; 0x700: take it as it is (ExtINT) */

/*
 * The pattern: a word is WORD above the one before it, and ROUND above that of last round; the
 * first one in round 0 is its address, so that another device's words are wrong, too.
 */
#define WORD 0x9e3779b1
#define ROUND 0x85ebca6b
#define PORT_ROUND 37           /* the same for the byte of a port, which begins with its number */

/* Variables; the stack ends where they begin. */
#define STACK 0x7000
#define round 0x7000
#define next_bar 0x7004
#define wrong_at 0x7008
#define wrong_found 0x700c
#define wrong_wanted 0x7010
#define devices 0x7100          /* one after the other, the last one has no slot: */
#define slot 0                  /*   its PCI address as CONFIG takes it */
#define first 4                 /*   first address of BAR 0, or first port */
#define size 8                  /*   bytes of BAR 0; 0: it has ports */
#define ports 12                /*   how many serial ports it has */
#define DEVICE 16
#define line_length 0x7014
#define line 0x7800             /* for 32 devices, each of them damaged */

        .macro  outb value, port
        mov     $\value, %al
        mov     $\port, %dx
        out     %al, (%dx)
        .endm

        .macro  say text        /* changes %esi */
        call    .Lsay\@
        .asciz  "\text"
.Lsay\@:
        pop     %esi
        call    print
        .endm

        .text
        .globl  _start
_start:
        .code32
flat:
        mov     $0x10, %eax
        mov     %eax, %ds
        mov     %eax, %es
        mov     %eax, %ss
        mov     $STACK, %esp
        cld
        movl    $0, line_length
        outb    0x80, COM1 + 3  /* 115200 baud, 8N1 */
        outb    1, COM1
        outb    0, COM1 + 1
        outb    0x03, COM1 + 3
        call    take_all

        say     "guest: ready: "
        mov     memory_kib, %eax
        call    print_decimal
        say     " KiB of memory"
        mov     $devices, %ebp
1:      cmpl    $0, slot(%ebp)
        je      1f
        say     ", BAR 0 of "
        call    print_name
        add     $DEVICE, %ebp
        jmp     1b
1:      call    end_line

        /* Fill all for round 0: it is what round -1 leaves, whatever it finds. */
        movl    $-1, round
        call    each_region_fill
        incl    round
        call    start_timer

next_round:
        sti
        hlt
        cli
        say     "guest: round "
        mov     round, %eax
        call    print_decimal
        say     ": memory"
        mov     $MEMORY, %edi
        mov     memory_kib, %ecx
        shl     $10, %ecx
        call    renew
        call    print_found
        mov     $devices, %ebp
1:      cmpl    $0, slot(%ebp)
        je      1f
        say     ", "
        call    print_name
        call    renew_device
        add     $DEVICE, %ebp
        jmp     1b
1:      call    end_line
        incl    round
        jmp     next_round

/* --- the pattern --------------------------------------------------------------------- */

each_region_fill:
        mov     $MEMORY, %edi
        mov     memory_kib, %ecx
        shl     $10, %ecx
        call    renew
        mov     $devices, %ebp
1:      cmpl    $0, slot(%ebp)
        je      1f
        mov     first(%ebp), %edi
        mov     size(%ebp), %ecx
        jecxz   2f
        call    renew
        jmp     3f
2:      call    fill_ports
3:      add     $DEVICE, %ebp
        jmp     1b
1:      ret

/*
 * Look at the %ecx bytes at %edi, and fill them for the next round; wrong_at is the first
 * word that was not the round's, or -1.  Each word is looked at right before it is written:
 * at no moment could damage go unseen.  Changes all but %ebp.
 */
renew:
        movl    $-1, wrong_at
        mov     %edi, %ebx
        shr     $2, %ecx
        imul    $ROUND, round, %eax
        add     %edi, %eax
1:      mov     (%edi), %edx
        cmp     %eax, %edx
        jne     3f
2:      lea     ROUND(%eax), %edx
        mov     %edx, (%edi)
        add     $WORD, %eax
        add     $4, %edi
        dec     %ecx
        jnz     1b
        ret
3:      cmpl    $-1, wrong_at
        jne     2b
        mov     %edx, wrong_found
        mov     %eax, wrong_wanted
        mov     %edi, %edx
        sub     %ebx, %edx
        mov     %edx, wrong_at
        jmp     2b

/* Print what renew has found. */
print_found:
        cmpl    $-1, wrong_at
        je      say_good
        say     " damaged: byte "
        mov     wrong_at, %eax
        call    print_hex
print_wrong:
        say     ": "
        mov     wrong_found, %eax
        call    print_hex
        say     ", not "
        mov     wrong_wanted, %eax
        jmp     print_hex
say_good:
        say     " good"
        ret

/* The same for the device at %ebp. */
renew_device:
        mov     first(%ebp), %edi
        mov     size(%ebp), %ecx
        jecxz   1f
        call    renew
        jmp     print_found
1:      xor     %ecx, %ecx      /* number of the port */
2:      call    port_value
        mov     %eax, wrong_wanted
        in      (%dx), %al
        mov     %eax, wrong_found
        cmp     wrong_wanted, %eax
        jne     3f
        inc     %ecx
        cmp     ports(%ebp), %ecx
        jb      2b
        call    fill_ports
        jmp     say_good
3:      call    fill_ports      /* changes %ecx: keep the number */
        say     " damaged: scratch register of port "
        mov     wrong_at, %eax
        call    print_hex
        jmp     print_wrong

/* %eax: the byte of the round in port %ecx of the device at %ebp; %dx: its scratch register,
   the port's own number goes to wrong_at. */
port_value:
        mov     first(%ebp), %edx
        lea     (%edx, %ecx, 8), %edx
        mov     %edx, wrong_at
        imul    $PORT_ROUND, round, %eax
        add     %dh, %al        /* the slot */
        shl     $4, %dl
        add     %dl, %al        /* and the BAR: 0 or 0x80 */
        movzbl  %al, %eax
        mov     wrong_at, %edx
        add     $SCRATCH, %edx
        ret

/* Fill the ports of the device at %ebp for the next round; keeps the wrong_ ones. */
fill_ports:
        push    wrong_at
        incl    round
        xor     %ecx, %ecx
1:      call    port_value
        out     %al, (%dx)
        inc     %ecx
        cmp     ports(%ebp), %ecx
        jb      1b
        decl    round
        pop     wrong_at
        ret

/* --- devices ------------------------------------------------------------------------- */

/* Place those that are ours, and note them in `devices`. */
take_all:
        movl    $FIRST_BAR, next_bar
        mov     $devices, %ebp
        mov     $ENABLE, %ebx
1:      xor     %ecx, %ecx
        call    read_config
        cmp     $MTTY, %eax
        je      take_ports
        cmp     $EMULATED, %eax
        je      take_memory
2:      add     $0x800, %ebx
        cmp     $ENABLE + (32 << 11), %ebx
        jb      1b
        movl    $0, slot(%ebp)
        ret
taken:                          /* what to decode is in %eax */
        mov     $COMMAND, %ecx
        call    write_config
        mov     %ebx, slot(%ebp)
        add     $DEVICE, %ebp
        jmp     2b

take_ports:                     /* each I/O BAR from the first on is a serial port */
        mov     %ebx, %edi
        and     $0xf800, %edi
        shr     $3, %edi
        add     $FIRST_PORT, %edi
        mov     %edi, first(%ebp)
        movl    $0, size(%ebp)
        movl    $0, ports(%ebp)
        mov     $BAR0, %ecx
1:      call    read_config
        test    $1, %al
        jz      1f
        mov     %edi, %eax
        call    write_config
        incl    ports(%ebp)
        add     $8, %edi
        add     $4, %ecx
        cmp     $BAR0 + 8, %ecx
        jb      1b
1:      mov     $DECODE_IO, %eax
        jmp     taken

take_memory:
        mov     $BAR0, %ecx
        mov     $-1, %eax
        call    write_config
        call    read_config
        and     $-16, %eax
        mov     %eax, %edi      /* ones down to the size */
        neg     %eax
        mov     %eax, size(%ebp)
        dec     %eax
        add     next_bar, %eax
        jc      no_room
        and     %edi, %eax
        mov     %eax, first(%ebp)
        call    write_config
        mov     first(%ebp), %eax
        add     size(%ebp), %eax
        jc      no_room
        cmp     $LAST_BAR, %eax
        ja      no_room
        mov     %eax, next_bar
        mov     $DECODE_MEMORY, %eax
        jmp     taken
no_room:
        mov     %ebx, slot(%ebp)
        say     "guest: gave up: no room for BAR 0 of "
        call    print_name
        call    end_line
1:      hlt
        jmp     1b

/* %eax from or to the register %ecx of the function %ebx; changes %edx. */
read_config:
        call    select
        in      (%dx), %eax
        ret
write_config:
        push    %eax
        call    select
        pop     %eax
        out     %eax, (%dx)
        ret
select:
        lea     (%ebx, %ecx), %eax
        mov     $CONFIG, %dx
        out     %eax, (%dx)
        mov     $CONFIG + 4, %dx
        ret

/* --- the timer: interrupt 0 of the first 8259, which the 8254 raises ------------------- */

start_timer:
        lidt    idt_pointer
        movl    $0x1ff, APIC_SPURIOUS
        movl    $0x700, APIC_LINT0
        outb    0x11, 0x20      /* edge triggered, two 8259, a fourth word comes */
        outb    TIMER_VECTOR, 0x21
        outb    0x04, 0x21
        outb    0x01, 0x21
        outb    0xfe, 0x21      /* no other interrupt */
        outb    0x34, 0x43      /* counter 0, both bytes, again and again */
        outb    TICK & 0xff, 0x40
        outb    TICK >> 8, 0x40
        ret
tick:
        push    %eax
        mov     $0x20, %al      /* end of interrupt */
        out     %al, $0x20
        pop     %eax
        iret

/* --- the console; nothing is changed but what is named --------------------------------- */

put:                            /* %al, into the line */
        push    %edi
        mov     line_length, %edi
        mov     %al, line(%edi)
        incl    line_length
        pop     %edi
        ret
print:                          /* the string at %esi, which goes to its end */
        push    %eax
1:      lodsb
        test    %al, %al
        jz      1f
        call    put
        jmp     1b
1:      pop     %eax
        ret
/*
 * Print the line when it is complete, so that the results after a switchover are in a line that the
 * switchover did not split.  Changes %eax, %edx, %esi.
 */
end_line:
        mov     $'\n', %al
        call    put
        mov     $line, %esi
1:      mov     $COM1 + 5, %dx
        in      (%dx), %al
        test    $0x20, %al      /* the port can take a byte */
        jz      1b
        mov     $COM1, %dx
        outsb
        decl    line_length
        jnz     1b
        ret
print_name:                     /* of the device at %ebp; changes %eax, %esi */
        say     "0000:00:"
        mov     slot(%ebp), %eax
        shr     $15, %eax
        and     $1, %eax
        call    put_digit
        mov     slot(%ebp), %eax
        shr     $11, %eax
        and     $15, %eax
        call    put_digit
        say     ".0"
        ret
put_digit:                      /* %eax, 0 to 15; changes it */
        mov     digits(%eax), %al
        jmp     put
print_hex:                      /* %eax; changes %esi */
        say     "0x"
        push    $16
        jmp     print_number
print_decimal:                  /* %eax */
        push    $10
print_number:
        xchg    %ecx, (%esp)
        pusha
        xor     %ebx, %ebx
1:      xor     %edx, %edx
        div     %ecx
        push    %edx
        inc     %ebx
        test    %eax, %eax
        jnz     1b
2:      pop     %eax
        call    put_digit
        dec     %ebx
        jnz     2b
        popa
        pop     %ecx
        ret
digits: .ascii  "0123456789abcdef"

/* --- the start ----------------------------------------------------------------------- */

        .balign 8
gdt:    .quad   0               /* code and data of 4 GiB, marked as accessed: the */
        .quad   0x00cf9b000000ffff /* CPU cannot write to ROM */
        .quad   0x00cf93000000ffff
gdt_pointer:
        .word   . - gdt - 1
        .long   gdt
        .balign 8
idt:    .fill   TIMER_VECTOR, 8, 0
        .word   tick - _start, 8, 0x8e00, 0xffff /* a gate; the image is at 0xffff0000 */
idt_pointer:
        .word   idt_pointer - idt - 1
        .long   idt

        .code16
real:
        cli
        lgdtl   %cs:(gdt_pointer - _start)
        mov     %cr0, %eax
        or      $1, %al
        mov     %eax, %cr0
        ljmpl   $8, $flat

        .org    0xffec
memory_kib:
        .long   1024
        .org    0xfff0          /* where the CPU starts, 16 bytes below 4 GiB */
        jmp     real
        .org    0x10000 - 1, 0xf4
        .byte   0xf4

        .section .note.GNU-stack, "", @progbits
