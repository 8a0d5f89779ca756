# -*- Perl -*-
# SPDX-License-Identifier: GPL-3.0-or-later
# A site filter for mimedefang.pl that does what it is told; filter.py beside it is its equal in Python.
# The first label of the client's name and of HELO, and the local part of sender and recipient choose an answer from a
# table. Header fields "X-Test: STAGE [SELECTOR] ACTION [ARGUMENT ...]" (percent-encoded) say what to do with the message.

use strict;
use warnings;

our ($AddWarningsInline, $GeneralWarning);
$GeneralWarning = "Attention:\n\n";

my %answers = (
    'reject'     => [ 'REJECT',   'Refused here',               '550', '5.1.1' ],
    'rejectonly' => [ 'REJECT',   'Refused without a code' ],
    'wordless'   => [ 'REJECT',   '' ],
    'headerno'   => [ 'REJECT',   'Refused with a header' ],
    'wrongcode'  => [ 'REJECT',   'Refused with a 4',           '450', '4.1.1' ],
    'tempfail'   => [ 'TEMPFAIL', 'Come back later',            '450', '4.1.1' ],
    'discard'    => [ 'DISCARD',  'Gone' ],
    'accept'     => [ 'ACCEPT_AND_NO_MORE_FILTERING', 'Welcome' ],
    'multiline'  => [ 'REJECT',   "First line\nSecond line\n\nFourth line", '551', '5.7.3' ],
    'percent'    => [ 'REJECT',   q(100% "sure" it's \\ %41 %),  '552', '5.7.4' ],
    'eightbit'   => [ 'REJECT',   "Nicht gew\xc3\xbcnscht",      '553', '5.7.5' ],
    'delay'      => [ 'CONTINUE', 'Slowly',                     '250', '2.1.0', 1 ],
    'delayno'    => [ 'TEMPFAIL', 'Slowly refused',             '450', '4.1.2', 1 ],
);

sub answer_for {
    my ($word) = @_;
    die "told to die\n" if $word eq 'die';
    return @{ $answers{$word} || [ 'CONTINUE', 'ok' ] };
}

sub first_label { my ($name) = @_; return ($name =~ /^([^.]*)/)[0]; }
sub local_part  { my ($address) = @_; return ($address =~ /^<?([^@>]*)/)[0]; }

sub filter_relay { my ($ip, $name) = @_; return answer_for(first_label($name)); }
sub filter_helo  { my ($ip, $name, $helo) = @_; return answer_for(first_label($helo)); }

sub filter_sender {
    my ($sender) = @_;
    action_add_header('X-From-Sender', $sender) if local_part($sender) eq 'header';
    return answer_for(local_part($sender));
}

sub filter_recipient {
    my ($recipient) = @_;
    my $word = local_part($recipient);
    action_add_header('X-From-Recipient', $recipient) if $word =~ /^header/;
    add_recipient('<added.by.recipient@example.org>') if $word eq 'companion';
    return answer_for($word);
}

my @orders;

sub read_orders {
    @orders = ();
    open(my $headers, '<', './HEADERS') or die "HEADERS: $!\n";
    while (my $line = <$headers>) {
        next unless $line =~ /^X-Test: (.*)$/;
        push @orders, [ map { s/%([0-9A-F]{2})/chr(hex($1))/egr } split(/ /, $1) ];
    }
    close($headers);
}

# What may be done to the message at any stage.
my %deeds = (
    'reject'           => sub { my ($code, $dsn, $text) = @_; action_bounce($text, $code, $dsn) },
    'tempfail'         => sub { my ($code, $dsn, $text) = @_; action_tempfail($text, $code, $dsn) },
    'discard'          => sub { action_discard() },
    'hold'             => sub { action_sm_quarantine($_[0]) },
    'add'              => sub { action_add_header(@_) },
    'insert'           => sub { my ($name, $at, $value) = @_; action_insert_header($name, $value, $at) },
    'change'           => sub { my ($name, $nth, $value) = @_; action_change_header($name, $value, $nth) },
    'delete'           => sub { action_delete_header(@_) },
    'delete-all'       => sub { action_delete_all_headers(@_) },
    'add-recipient'    => sub { add_recipient(@_) },
    'delete-recipient' => sub { delete_recipient(@_) },
    'sender'           => sub { change_sender(@_) },
    'die'              => sub { die "told to die\n" },
);

my %dispositions = (
    'keep'         => sub { action_accept() },
    'keep-warning' => sub { action_accept_with_warning(@_) },
    'drop'         => sub { action_drop() },
    'drop-warning' => sub { action_drop_with_warning(@_) },
    'replace'      => sub { action_replace_with_warning(@_) },
);

sub obey {
    my ($stage) = @_;
    for my $order (@orders) {
        my ($where, $action, @arguments) = @$order;
        $deeds{$action}->(@arguments) if $where eq $stage;
    }
}

sub obey_for_part {
    my ($stage, $selector) = @_;
    for my $order (@orders) {
        my ($where, $wanted, $action, @arguments) = @$order;
        next unless $where eq $stage && ($wanted eq '*' || $wanted eq $selector);
        ($dispositions{$action} || $deeds{$action})->(@arguments);
    }
}

sub filter_begin     { read_orders(); obey('begin'); }
sub filter           { my ($entity, $name, $extension, $type) = @_; obey_for_part('part', $name); }
sub filter_multipart { my ($entity, $name, $extension, $type) = @_; obey_for_part('multipart', $type); }
sub filter_end       { obey('end'); }
sub filter_wrapup    { obey('wrapup'); }

1;
